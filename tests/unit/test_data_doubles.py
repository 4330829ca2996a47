"""Files with equal bytes."""

from ssld.data.doubles import doubles, equal_files


def files(folder, **contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def test_equal_files_are_paired_with_the_first_of_the_other_list(tmp_path):
    at = files(tmp_path, a=b"one", b=b"two", c=b"one", d=b"one", e=b"longer", f=b"")
    asked = [at["c"], at["b"], at["e"], at["f"], str(tmp_path / "gone"), str(tmp_path)]
    assert equal_files(asked, [at["d"], at["a"]]) == [(at["c"], at["d"])]
    assert equal_files([at["a"]], [at["a"]]) == [(at["a"], at["a"])]
    assert equal_files([], [at["a"]]) == equal_files([at["a"]], []) == []


def test_doubles_of_a_list_name_the_first_of_each(tmp_path):
    at = files(tmp_path, a=b"one", b=b"two", c=b"one", d=b"one")
    listed = [at["a"], at["b"], at["c"], at["d"], at["b"], str(tmp_path / "gone"), str(tmp_path / "gone")]
    assert doubles(listed) == [(at["c"], at["a"]), (at["d"], at["a"]), (at["b"], at["b"])]
