import gzip
import io
import tarfile
from pathlib import Path

import pytest

from landscape_fast.training.sequences.pairs import Pair, read_iwslt16, read_multi30k

HEADERS = "<url>http://www.ted.com/talks/x</url>\n<talkid>1</talkid>\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def archive(path: Path, files: dict[str, str], mode: str = "w:xz") -> Path:
    with tarfile.open(path, mode) as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(f"de-en/{name}")
            member.size = len(text.encode())
            packed.addfile(member, io.BytesIO(text.encode()))
    return path


def plain(name: str, de: str, en: str) -> dict[str, str]:
    return {f"{name}.de-en.de": de, f"{name}.de-en.en": en}


SETS = {
    **plain("IWSLT16.TED.dev2010", "eins\nzwei\n", "one\ntwo\n"),
    **plain("IWSLT16.TEDX.dev2012", "drei\n", "three\n"),
    **plain("IWSLT16.TED.tst2014", "vier\n", "four\n"),
    "README": "not text to learn from\n",
}


def test_without_training_text_all_sets_but_the_test_set_are_trained_on(tmp_path):
    train, test = read_iwslt16(write(tmp_path, SETS))
    assert train == [Pair("eins", "one"), Pair("zwei", "two"), Pair("drei", "three")]
    assert test == [Pair("vier", "four")]
    train, test = read_iwslt16(tmp_path, test="TED.dev2010")
    assert train == [Pair("vier", "four"), Pair("drei", "three")]
    assert len(test) == 2


def test_training_text_is_taken_without_its_header_lines(tmp_path):
    text = plain("train.tags", f"{HEADERS}Guten Tag.\n \nJa.\n", f"{HEADERS}Good day.\nHm\nYes.\n")
    train, test = read_iwslt16(write(tmp_path / "de-en", {**SETS, **text}).parent)
    assert train == [Pair("Guten Tag.", "Good day."), Pair("Ja.", "Yes.")]  # the empty line is out
    assert test == [Pair("vier", "four")]


def test_segments_are_read_from_xml_and_its_header_lines_are_not(tmp_path):
    body = '<?xml version="1.0"?>\n<doc docid="1">\n<title>Kopf</title>\n<seg id="1"> {} </seg>\n'
    name = "IWSLT16.TED.tst2014.de-en.{}.xml"
    xml = {name.format("de"): body.format("A &amp; B"), name.format("en"): body.format("a and b")}
    others = {name: text for name, text in SETS.items() if "tst2014" not in name}
    assert read_iwslt16(write(tmp_path, {**others, **xml}))[1] == [Pair("A & B", "a and b")]


@pytest.mark.parametrize("mode", ["w:xz", "w:gz"])
def test_archive_folder_of_the_archive_and_folder_of_files_are_the_same(tmp_path, mode):
    expected = read_iwslt16(write(tmp_path / "files", SETS))
    (tmp_path / "packed").mkdir()
    path = archive(tmp_path / "packed" / "iwslt16.de-en.devtest.tar.xz", SETS, mode)
    assert read_iwslt16(path) == read_iwslt16(path.parent) == expected


def test_only_a_line_feed_ends_a_sentence(tmp_path):
    files = {**SETS, **plain("IWSLT16.TED.tst2014", "vier\u2028fünf\x85\n", "four five\n")}
    assert read_iwslt16(write(tmp_path, files))[1] == [Pair("vier\u2028fünf", "four five")]


@pytest.mark.parametrize(
    ("files", "options", "error", "message"),
    [
        ({"README": "x"}, {}, FileNotFoundError, "holds no files of IWSLT 2016"),
        (SETS, {"test": "TED.tst2015"}, ValueError, "test must be one of TED.dev2010, TED.tst2014"),
        (
            {**SETS, **plain("IWSLT16.TED.tst2014", "vier\n", "four\nfive\n")},
            {},
            ValueError,
            "TED.tst2014: 1 lines of 'de', but 2 of 'en'",
        ),
        (
            plain("IWSLT16.TED.tst2014", "vier\n", "four\n"),
            {},
            ValueError,
            "no pairs besides those of the test set 'TED.tst2014'",
        ),
        (
            {**SETS, "IWSLT16.TED.tst2013.de-en.de": "x"},
            {},
            ValueError,
            "TED.tst2013: the file of language 'en' is missing",
        ),
    ],
)
def test_files_that_are_missing_or_do_not_fit_are_named(tmp_path, files, options, error, message):
    with pytest.raises(error, match=message):
        read_iwslt16(write(tmp_path, files), **options)


def test_a_damaged_archive_and_bytes_that_are_no_text_are_named(tmp_path):
    path = archive(tmp_path / "x.de-en.tar.xz", SETS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="x.de-en.tar.xz is damaged or no tar archive"):
        read_iwslt16(path)
    folder = write(tmp_path / "latin", SETS)
    (folder / "IWSLT16.TED.tst2014.de-en.de").write_bytes("für\n".encode("latin-1"))
    with pytest.raises(ValueError, match="IWSLT16.TED.tst2014.de-en.de is not UTF-8"):
        read_iwslt16(folder)


def test_captions_are_read_plain_and_packed(tmp_path):
    write(tmp_path, {"train.de": "Hund\nKatze\n", "train.en": "dog\ncat\n"})
    for side, word in (("de", "Haus"), ("en", "house")):
        packed = gzip.compress(f"{word}\n".encode())
        (tmp_path / f"test_2016_flickr.{side}.gz").write_bytes(packed)
    train, test = read_multi30k(tmp_path)
    assert train == [Pair("Hund", "dog"), Pair("Katze", "cat")]
    assert test == [Pair("Haus", "house")]


def test_a_missing_or_damaged_file_of_captions_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"train\.de does not exist, nor does train\.de\.gz"
    ):
        read_multi30k(tmp_path)
    (tmp_path / "train.de.gz").write_bytes(gzip.compress(b"Hund\n")[:-4])
    with pytest.raises(ValueError, match=r"train\.de\.gz is damaged"):
        read_multi30k(tmp_path)


@pytest.mark.data
def test_the_real_pairs_are_all_there_and_none_is_a_header(shared_data):
    train, test = read_iwslt16(shared_data / "iwslt16")
    assert (len(train), len(test)) == (10_520, 1305)
    assert not any(side.startswith("<") for pair in train + test for side in pair)
    assert train[4] == Pair(
        "Wir durchlaufen Initiationsrituale.", "We go through initiation rites."
    )
    train, test = read_multi30k(shared_data / "multi30k")
    assert (len(train), len(test)) == (29_000, 1000)
