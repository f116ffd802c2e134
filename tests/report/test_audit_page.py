from pathlib import Path

import pandas as pd

from subtext.audit.findings import Audit, Finding
from subtext.report.audit_page import write_audit

SAID = "a|b <script>x</script> ![p](http://x)"


def test_what_stands_in_a_stranger_s_table_is_text_on_the_page(tmp_path: Path) -> None:
    audit = Audit(
        name=SAID,
        rows=1200,
        media="none",
        divisions={SAID: {SAID: 1000}},
        labels={SAID: (1, 2)},
        findings=(
            Finding("leak", SAID, True, f"{SAID} tells `incongruent`", f"remove {SAID}", SAID, {}, (f"{SAID} `1",)),
        ),
        overlap=pd.DataFrame(
            {"division": [SAID], "unit": [SAID], "units": [1], "rows": [2], "judged": [4], "share": [0.5]}
        ),
        predictability=pd.DataFrame(
            {
                "label": ["incongruent"] * 2,
                "variable": [SAID, "duration"],
                "how": "own folds",
                "rows": 10,
                "auroc": [0.75, None],
                "low": [0.5, None],
                "high": [1.0, None],
                "p": [0.004, None],
                "p_holm": [0.008, None],
                "accuracy": [0.7, None],
                "majority": [0.5, None],
                "alarm": [True, False],
            }
        ),
        speakers=pd.DataFrame(
            {"label": SAID, "value": [f"no. {n}" for n in range(31)], "negative": range(31), "positive": 1}
        ),
        skipped=(SAID,),
    )
    page = write_audit(audit, tmp_path).read_text(encoding="utf-8")
    told = r"a\|b &lt;script>x&lt;/script> !\[p\](http://x)"
    assert f"# Audit of {told}\n" in page
    assert f"- **{told}** (`a\\|b <script>x</script> ![p](http://x)`): {told} tells `incongruent`.\n" in page
    assert f"  Remedy: remove {told}.\n  For example `a\\|b <script>x</script> ![p](http://x) '1`.\n" in page
    assert (
        f"| incongruent | {told} | own folds | 10 | 0.750 [0.500, 1.000] | 0.004 | 0.008 | 70.0% | 50.0% | alarm |"
        in page
    )
    assert "| incongruent | duration | own folds | 10 | n/a | n/a | n/a |" in page
    assert "and 1 more, in `audit.json`." in page
