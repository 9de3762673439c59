"""A page that shows a checkpoint to people who look rather than read.

`memory_map`: what each page of RAM is in the file. `picture`: that as a PNG. `document`: HTML.
"""
