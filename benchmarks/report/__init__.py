"""One page about runs, models and measurements, `cornernet report`: it shows what other verbs wrote, measures nothing.

Start with report_page.py; report_inputs.py finds and reads the files, report_sections.py makes charts and tables of
them, page.html.jinja is the page.
"""
