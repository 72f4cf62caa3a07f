import pytest

from gtower_realtime.setting_file import parse


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# a comment\n\n ; another\n", {}),
        ("A=1\nB_2 =  x y \n", {"A": "1", "B_2": "x y"}),
        ("A=\n", {"A": ""}),
        ("A='x # y'\nB=\"'\"\nC='\nD='a\"\n", {"A": "x # y", "B": "'", "C": "'", "D": "'a\""}),
        ("A=b=c\r\n", {"A": "b=c"}),
        ("  A=$HOME\\n", {"A": "$HOME\\n"}),
    ],
)
def test_lines_are_names_and_values(text: str, values: dict[str, str]) -> None:
    assert parse(text) == (values, [])


def test_what_is_no_such_line_is_told_by_its_number_and_not_repeated() -> None:
    assert parse("A=1\nsecret\n=2\nA=3\n1A=4\n") == (
        {"A": "1"},
        [
            "line 2 must be NAME=value",
            "line 3 must be NAME=value",
            "line 4 sets A, which an earlier line has set",
            "line 5 must be NAME=value",
        ],
    )
