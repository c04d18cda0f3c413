"""What a data set holds, and what in it would spoil a training or a score, before either is paid for.

Start with survey.py: the numbers; survey_warnings.py says what is wrong with them, survey_page.py shows both.
"""
