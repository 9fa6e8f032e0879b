"""Rate and distortion, measured: of our models and of the codecs people know.

commands.py    `ycc eval`, `ycc bd-rate`, `ycc report`
peers.py       classic codecs behind two functions, encode and decode
subject.py     a codec model behind the same two, and where its seconds go
run.py         pictures x qualities -> a CSV, picture by picture, and their means
measure.py     one picture there and back: bytes, distortion, seconds
rows.py        the CSV, which an interrupted evaluation continues from
rd.py          the means as files in CompressAI's form; BD-rate between two of them
provenance.py  where a figure comes from
report/        figures and pictures side by side, as one page
"""
