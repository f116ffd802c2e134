"""What the templates of pages call: figures, numbers and names as they stand on a page."""

from typing import TYPE_CHECKING, Any

from subtext.core.templates import marked, render
from subtext.report.terminal import (
    DIFFERENCE,
    FEW_MARK,
    METRIC_NAMES,
    MODALITY_NAMES,
    SUBSET_NAMES,
    head_name,
    interval_text,
    number_text,
    p_text,
    system_name,
)

if TYPE_CHECKING:
    from markupsafe import Markup


def markdown(template: str, /, **values: Any) -> "Markup":
    """The page that a template makes of values, or the part of one; see `subtext.core.templates.render`."""
    return marked(render)(
        template,
        figure=marked(interval_text),
        number=marked(number_text),
        p_text=marked(p_text),
        system_name=system_name,
        head_name=head_name,
        few_mark=FEW_MARK,
        difference=DIFFERENCE,
        metric_names=METRIC_NAMES,
        modality_names=MODALITY_NAMES,
        subset_names=SUBSET_NAMES,
        **values,
    )
