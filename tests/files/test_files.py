"""Files are written whole or not at all."""

import errno

import pytest

from iresnet_tf.files import write_json, written_whole


def test_a_file_replaces_the_one_before_only_when_it_is_whole(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with written_whole(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with written_whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.suffix == ".txt"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "model"
    with written_whole(path) as partial:
        partial.mkdir()
        (partial / "part").write_text("1")
        assert not path.exists()
    assert (path / "part").read_text() == "1" and list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made_and_removed_again_if_nothing_is_written(tmp_path):
    path = tmp_path / "new" / "newer" / "numbers"
    with pytest.raises(ValueError, match="stop"):
        with written_whole(path):
            assert path.parent.is_dir()
            raise ValueError("stop")
    assert not any(tmp_path.iterdir())
    with written_whole(path) as partial:
        partial.write_text("1")
    assert path.read_text() == "1" and list(path.parent.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "numbers.json", {"numbers": object()})
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "numbers.json", {"n": 1})
    assert (tmp_path / "numbers.json").read_text() == '{\n  "n": 1\n}\n'


def test_an_error_of_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space") as raised:
        with written_whole(tmp_path / "numbers"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "numbers")
    assert not any(tmp_path.iterdir())
