"""One page about runs, models and measurements, `cornernet report`: it shows what other verbs wrote, measures nothing.

Start with report_page.py; report_inputs.py finds and reads the files, report_charts.py draws, page.html.jinja is the
page.
"""
