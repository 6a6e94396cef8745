"""Commands in a notebook: shown with what they say."""

from book.tools import commandline


def test_a_command_is_shown_with_what_it_says(tmp_path, capsys):
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "broken.png").write_bytes(b"no image")
    command = "graphseg segment night --output 'my masks' --no-test-time-augmentation"
    assert commandline.command_line(command, tmp_path) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"$ {command}" and err == ""
    assert lines[1].startswith("night/broken.png is not a readable") and "%|" not in out
    assert lines[-1] == "graphseg: 1 of 1 images failed, see my masks/segment.csv."
    assert commandline.command_line("graphseg export nothing --output a.onnx", tmp_path) == 2
    assert not (tmp_path / "a.onnx").exists()
