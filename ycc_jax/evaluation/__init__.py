"""Rate and distortion, measured: of our models and of the codecs people know.

peers.py    classic codecs behind two functions, encode and decode
subject.py  a codec model behind the same two, and where its seconds go
run.py      pictures x qualities -> a CSV, picture by picture, and their mean
rd.py       the means as files in CompressAI's form; BD-rate between two of them
report/     figures and pictures side by side, as one page
commands.py `ycc eval`, `ycc bd-rate`, `ycc report`
"""
