"""Reading ahead in a thread."""

import pytest

from cornernet.engine.reading.prefetch import prefetch


@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("failing", ["items", "work"])
@pytest.mark.parametrize("error", [ValueError("the camera is gone"), KeyboardInterrupt()])
def test_what_was_read_before_an_exception_is_delivered_before_it(ahead, failing, error):
    def items():
        for number in range(10):
            if failing == "items" and number == 5:
                raise error
            yield number

    def work(number):
        if failing == "work" and number == 5:
            raise error
        return number

    delivered = []
    with pytest.raises(type(error)) as raised:
        delivered.extend(prefetch(items(), work, ahead))
    assert raised.value is error
    delivered.clear()
    with pytest.raises(type(error)):
        for result in prefetch(items(), work, ahead):
            delivered.append(result)
    assert delivered == [0, 1, 2, 3, 4]
