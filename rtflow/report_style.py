"""How a report looks: light, dark where the reader's system is, and light on paper."""

_LIGHT = (
    "--ground:#fff;--text:#1a1b1e;--dim:#495057;--line:#dee2e6;--good:#237a35;--bad:#c92a2a;"
    "--c0:#1864ab;--c1:#d9480f;--c2:#2b8a3e;--c3:#a61e4d;--c4:#5f3dc4;--c5:#0b7285;--c6:#8a5a00;--c7:#4c6e0a;"
    "--b0:rgba(28,126,214,.15);--b1:rgba(232,89,12,.15);--b2:rgba(43,138,62,.15);--b3:rgba(112,72,232,.15);"
    "--b4:rgba(194,37,92,.15);"
)
_DARK = (
    "--ground:#17181b;--text:#e9ecef;--dim:#b4bac2;--line:#3b3f45;--good:#69db7c;--bad:#ff8787;"
    "--c0:#74c0fc;--c1:#ffa94d;--c2:#69db7c;--c3:#faa2c1;--c4:#b197fc;--c5:#66d9e8;--c6:#ffd43b;--c7:#c0eb75;"
    "--b0:rgba(77,171,247,.2);--b1:rgba(255,146,43,.2);--b2:rgba(105,219,124,.2);--b3:rgba(151,117,250,.2);"
    "--b4:rgba(240,101,149,.2);"
)
_LINES = "".join(f".c{number}{{stroke:var(--c{number})}}" for number in range(8))
_SHADES = "".join(f".b{number}{{fill:var(--b{number})}}" for number in range(5))

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n"
    """
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.45 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.2rem 1rem}
h1{margin:0;font-size:1.5rem;overflow-wrap:anywhere}
h2{margin:2rem 0 .5rem;font-size:1.1rem;break-after:avoid}
.ending{margin:0;font-weight:600;padding:.05rem .6rem;border:1px solid;border-radius:999px}
.good{color:var(--good)}.bad{color:var(--bad)}
.reason{margin:0;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.5rem 1.5rem;margin:1rem 0 0}
dt{font-size:.8rem;color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;max-width:100%;margin:0 0 1rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem 1.5rem .25rem 0;border-top:1px solid var(--line);text-align:left;vertical-align:top}
td{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
th{color:var(--dim);font-weight:600;border:0}
.n{text-align:right;white-space:nowrap;min-width:4rem}
.unit{color:var(--dim);font-weight:400;font-size:.85rem}
pre{margin:0;padding:.8rem;border:1px solid var(--line);border-radius:6px;white-space:pre-wrap;"""
    """overflow-wrap:anywhere;font-size:.8rem}
figure{margin:0 0 1.2rem;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;gap:.1rem .9rem;align-items:baseline}
.key{display:inline-flex;gap:.35rem;align-items:center;font-size:.85rem;margin-right:.8rem}
.chart{display:block;width:100%;height:auto;overflow:visible}
.unseen{position:absolute;width:0;height:0}
text{font-size:12px;fill:var(--dim);font-variant-numeric:tabular-nums}
text.y{text-anchor:end}text.x,text.in{text-anchor:middle}
.grid{stroke:var(--line);fill:none}
.limit{stroke:var(--bad);stroke-width:1.3;stroke-dasharray:6 4;fill:none}
.l{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
.c1{stroke-dasharray:7 3}.c2{stroke-dasharray:1 3.5;stroke-width:2}
.cross{stroke:var(--bad);stroke-width:1.5;fill:none}
""" + _LINES + _SHADES + f"\n@media print{{:root{{color-scheme:light;{_LIGHT}}}"
    "body{font-size:10pt}main{max-width:none;padding:0}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}tr{break-inside:avoid}}\n"
)
