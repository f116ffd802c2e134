"""Counsellors' replies: made by language models, measured, validated on AnnoMI, compared and rated by people."""
