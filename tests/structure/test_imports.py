"""Imports between the subpackages run one way, and files stay small."""

import ast
import importlib
import pathlib

import pytest

import iresnet_tf

PACKAGE = pathlib.Path(iresnet_tf.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(pathlib.Path(__file__).parents[1].rglob("*.py"))
BENCHMARKS = sorted((pathlib.Path(__file__).parents[2] / "benchmarks").glob("*.py"))

ORDER = [
    ("internals", "files", "version", "pretrained"),
    ("numerics.structure", "numerics.axes", "numerics.configured", "numerics.precision"),
    ("numerics.options", "numerics.registered"),
    ("numerics.orders",),
    ("numerics.random",),
    ("numerics.maps",),
    ("numerics.execution",),
    ("numerics.norms", "numerics.log_det", "numerics.solvers"),
    ("numerics.residual_map",),
    ("layers",),
    ("bijectors",),
    ("columns",),
    ("models",),
    ("data",),
    ("analysis",),
    ("training",),
    ("bayesflow", "sklearn"),
    ("cli",),
]
"""Subpackages from the lowest to the highest: each imports only from its own and lower rows."""


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(name):
    """Returns the row of `ORDER` that a module belongs to; the package itself is above all."""
    for index, rooms in enumerate(ORDER):
        if any(name == room or name.startswith(f"{room}.") for room in rooms):
            return index
    return len(ORDER)


def imports(path):
    """Yields the names of the package's modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iresnet_tf"):
            base = node.module.removeprefix("iresnet_tf").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("iresnet_tf."):
                    yield alias.name.removeprefix("iresnet_tf.")


MODULES = {module_name(path): path for path in FILES}


def test_every_module_has_a_row_and_imports_by_full_names():
    above_all = {"", "__main__", "numerics"}
    assert {name for name in MODULES if room_of(name) == len(ORDER)} == above_all
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), path


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) < len(ORDER)])
def test_imports_never_run_up(name):
    above = [each for each in imports(MODULES[name]) if room_of(each) > room_of(name)]
    assert not above, f"{name} imports {above} from a higher room"


def test_imports_never_run_in_a_circle():
    edges = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    done, path = set(), []

    def visit(name):
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in edges.get(name, ()):
                visit(other)
            path.pop()
            done.add(name)

    for name in MODULES:
        visit(name)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_imports_what_exists(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("iresnet_tf"):
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: path.stem)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 320


OWN_MARK = "_iresnet_tf"
"""The beginning of the names of attributes that the package adds to objects of the frameworks."""


def test_private_parts_of_the_frameworks_are_used_in_one_file_alone():
    """Private names of other objects may be read only if the package itself defines them."""
    own, used, written = set(), {}, set()
    for name, path in MODULES.items():
        if name == "internals":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                own.add(node.name)
            if isinstance(node, ast.ClassDef):
                own |= {each for line in node.body for each in assigned(line)}
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                if isinstance(node.ctx, ast.Load):
                    used.setdefault(node.attr, set()).add(name)
                elif isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    own.add(node.attr)
                else:
                    written.add((name, node.attr))
    # Named tuples and `os` have public names with an underscore.
    fields = {"_replace", "_fields", "_asdict", "_types", "_exit"}
    foreign = {
        attr: sorted(names)
        for attr, names in used.items()
        if attr not in own | fields and not attr.endswith("__") and not attr.startswith(OWN_MARK)
    }
    assert not foreign
    assert not {each for each in written if not each[1].endswith("__") and OWN_MARK not in each[1]}


def assigned(line):
    """Returns the names that a line in the body of a class assigns."""
    targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
    return [node.id for node in targets if isinstance(node, ast.Name)]
