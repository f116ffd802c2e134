"""ELAN files as text, as small as its readers take them."""

_SCHEMA = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="EAFv3.0.xsd"'


def elan_text(*tiers: tuple[str, str, str], rating: str | None = None) -> str:
    """An ELAN file in which each tier has one annotation, from 0 to 0.9 s.

    Args:
        tiers: name, participant and words of each.
        rating: a value of `incongruent` that `ann` gave of the first one.
    """
    written = "".join(
        f'<TIER LINGUISTIC_TYPE_REF="lt" TIER_ID="{name}" PARTICIPANT="{who}"><ANNOTATION><ALIGNABLE_ANNOTATION '
        f'ANNOTATION_ID="a{number}" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>{words}'
        "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
        for number, (name, who, words) in enumerate(tiers)
    )
    if rating is not None:
        written += (
            f'<TIER LINGUISTIC_TYPE_REF="as" TIER_ID="incongruent@ann" PARENT_REF="{tiers[0][0]}"><ANNOTATION>'
            '<REF_ANNOTATION ANNOTATION_ID="r0" ANNOTATION_REF="a0"><ANNOTATION_VALUE>'
            f"{rating}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" '
        f'{_SCHEMA} FORMAT="3.0" VERSION="3.0"><HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"></HEADER><TIME_ORDER>'
        "<TIME_SLOT "
        'TIME_SLOT_ID="t1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/></TIME_ORDER>'
        f'{written}<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="lt" TIME_ALIGNABLE="true"/><LINGUISTIC_TYPE '
        'LINGUISTIC_TYPE_ID="as" CONSTRAINTS="Symbolic_Association" TIME_ALIGNABLE="false"/></ANNOTATION_DOCUMENT>\n'
    )
