"""Manifests on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data.manifest import Recording, manifest_text, read_manifest
from lightning_modules.errors import CorpusError

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=8)
recordings = st.builds(
    Recording,
    id=texts,
    path=texts,
    language=texts,
    source=texts,
    speaker=texts,
    duration_s=st.floats(0, 1e4),
    split=st.sampled_from(["train", "dev", "test"]),
    condition=texts,
    cut_of=st.just("") | texts,
    audio_hash=texts,
)


@given(st.lists(recordings, unique_by=lambda recording: recording.id, max_size=5))
def test_what_is_written_is_read_back_in_the_order_of_ids(rows: list[Recording]) -> None:
    text = manifest_text(rows)
    assert read_manifest(text) == tuple(sorted(rows, key=lambda row: row.id))


@pytest.mark.parametrize(
    "text",
    [
        "id,path\na,b\n",
        "id,path,language,source,speaker,duration_s,split,condition\na,b,en,s,p,long,dev,clean\n",
        "id,path,language,source,speaker,duration_s,split,condition\na,b,en,s,p,1.0,validation,clean\n",
        "id,path,language,source,speaker,duration_s,split,condition\na,b\n",
    ],
)
def test_a_damaged_manifest_is_refused(text: str) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_manifest(text)
