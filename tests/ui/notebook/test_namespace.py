from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lrwidget.engine.errors import NamespaceError
from lrwidget.ui.notebook.namespace import Found, evaluate, find_missing, find_validation


def a_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long)), batch_size=4)


def a_notebook(**more: Any) -> dict[str, Any]:
    """What a user's namespace holds, with IPython's own names in it."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return {
        "__name__": "__main__",
        "_": model,
        "_dh": ["/"],
        "In": ["", "model"],
        "Out": {1: model},
        "torch": torch,
        "nn": nn,
        "F": F,
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "train_dl": a_loader(),
        "loss_fn": nn.CrossEntropyLoss(),
        **more,
    }


def names(namespace: dict[str, Any], **given: Any) -> dict[str, str]:
    return {role: found.name for role, found in find_missing(given, namespace).items()}


TAKEN = {"model": "model", "optimizer": "optimizer", "train_dl": "train_dl", "loss_fn": "loss_fn"}


# ---- by type ---------------------------------------------------------------------------------------------------------


def test_one_of_each_is_found_by_its_type_and_in_the_order_of_the_arguments() -> None:
    assert names(a_notebook()) == TAKEN
    assert list(names(a_notebook())) == ["model", "optimizer", "train_dl", "loss_fn"]


def test_the_namespace_is_not_changed() -> None:
    namespace = a_notebook()
    before = dict(namespace)
    find_missing({}, namespace)
    evaluate("model[0]", namespace, "model")
    assert namespace == before


def test_a_part_of_a_model_under_a_name_of_its_own_is_no_second_model() -> None:
    namespace = a_notebook()
    namespace["head"] = namespace["model"][2]
    assert names(namespace)["model"] == "model"


def test_one_object_under_two_names_is_one_candidate() -> None:
    namespace = a_notebook()
    namespace["net"] = namespace["model"]
    assert names(namespace)["model"] == "model"


def test_of_two_models_the_one_that_the_optimizer_trains_is_taken() -> None:
    assert names({"teacher": nn.Linear(4, 2), **a_notebook()})["model"] == "model"


def test_of_two_optimizers_the_one_that_trains_the_given_model_is_taken() -> None:
    other = nn.Linear(4, 2)
    namespace = a_notebook(other=other, sgd=torch.optim.SGD(other.parameters(), lr=0.1))
    given = {"model": evaluate("other", namespace, "model")}
    assert names(namespace, **given)["optimizer"] == "sgd"


@pytest.mark.parametrize("name", ["valid_dl", "val_loader", "test_dl", "dl_test", "loader_val", "validation", "dev_dl"])
def test_a_loader_that_is_named_after_something_else_than_training_is_not_taken(name: str) -> None:
    assert names({name: a_loader(), **a_notebook()})["train_dl"] == "train_dl"


@pytest.mark.parametrize("name", ["latest_batches", "contest_dl", "interval_dl", "retrieval"])
def test_a_name_that_merely_holds_such_letters_is_a_candidate(name: str) -> None:
    namespace = a_notebook()
    del namespace["train_dl"]
    assert names({name: a_loader(), **namespace})["train_dl"] == name


def test_of_several_loaders_the_one_named_after_training_is_taken() -> None:
    assert names(a_notebook(unlabelled=a_loader(), pretty=a_loader()))["train_dl"] == "train_dl"


def test_a_loss_of_torchs_is_known_whatever_its_name() -> None:
    namespace = a_notebook(objective=F.mse_loss)
    del namespace["loss_fn"]
    assert names(namespace)["loss_fn"] == "objective"


@pytest.mark.parametrize("name", ["loss_fn", "criterion", "loss_func"])
def test_a_function_of_the_users_is_a_loss_when_its_name_says_so(name: str) -> None:
    namespace = a_notebook()
    del namespace["loss_fn"]
    assert names({**namespace, name: lambda output, target: output.sum()})["loss_fn"] == name


def test_without_a_loss_the_model_is_expected_to_return_its_own() -> None:
    namespace = a_notebook()
    del namespace["loss_fn"]
    found = find_missing({}, namespace)["loss_fn"]
    assert (found.name, found.value) == ("", None)


def test_a_loss_module_is_no_model_and_a_class_is_neither() -> None:
    assert names(a_notebook(Net=nn.Linear, Loss=nn.CrossEntropyLoss, Adam=torch.optim.Adam)) == TAKEN


def test_what_was_given_is_kept_and_only_the_rest_is_looked_for() -> None:
    namespace = a_notebook(second=a_loader(), third=a_loader())
    del namespace["train_dl"]
    given = {"train_dl": evaluate("third", namespace, "train_dl")}
    assert names(namespace, **given)["train_dl"] == "third"


# ---- when it cannot be told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("model", "2 objects that could be the model .*: model, twin"),
        ("optimizer", "2 objects that could be the optimizer .*: optimizer, second"),
        ("train_dl", "2 objects that could be the training loader .*: train_dl, train_too"),
        ("loss_fn", "2 objects that could be the loss .*: huber, mse"),
    ],
)
def test_candidates_that_cannot_be_told_apart_are_named(extra: str, says: str) -> None:
    namespace = a_notebook()
    if extra == "model":
        namespace["twin"] = nn.Linear(4, 2)
        namespace["optimizer"].add_param_group({"params": namespace["twin"].parameters()})
    elif extra == "optimizer":
        namespace["second"] = torch.optim.SGD(namespace["model"].parameters(), lr=0.1)
    elif extra == "train_dl":
        namespace["train_too"] = a_loader()
    else:
        del namespace["loss_fn"]
        namespace |= {"huber": nn.HuberLoss(), "mse": nn.MSELoss()}
    with pytest.raises(NamespaceError, match=rf"(?s)Got {says}; expected to know which.*Name all four: %lrfind model"):
        find_missing({}, namespace)


@pytest.mark.parametrize(
    ("role", "says"),
    [
        ("model", r"no model \(a torch\.nn\.Module\)"),
        ("optimizer", r"no optimizer \(a torch\.optim\.Optimizer\)"),
        ("train_dl", r"no training loader \(a DataLoader\)"),
    ],
)
def test_what_is_missing_is_named(role: str, says: str) -> None:
    namespace = a_notebook()
    del namespace[role]
    with pytest.raises(NamespaceError, match=rf"(?s)Got {says} in the notebook; expected one.*Run the cell"):
        find_missing({}, namespace)


def test_an_error_of_the_namespace_is_a_name_error_too() -> None:
    assert issubclass(NamespaceError, NameError)


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_any_expression_names_an_object() -> None:
    namespace = a_notebook()
    found = evaluate("model[2].weight", namespace, "model")
    assert (found.name, found.value) == ("model[2].weight", namespace["model"][2].weight)


def test_a_name_that_does_not_exist_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(NamespaceError, match=r"there is no 'modle' here.*Did you mean model\?"):
        evaluate("modle", a_notebook(), "model")


def test_the_name_that_does_not_exist_is_told_also_inside_an_expression() -> None:
    with pytest.raises(NamespaceError, match=r"Got 'learner\.model' as model, and there is no 'learner' here"):
        evaluate("learner.model", a_notebook(), "model")


def test_with_no_name_near_it_the_objects_of_the_right_kind_are_named() -> None:
    with pytest.raises(NamespaceError, match=r"Of the right kind there are: optimizer\."):
        evaluate("xyzzy", a_notebook(), "optimizer")


@pytest.mark.parametrize("expression", ["model.nothing", "model[7]", "1/0", "model(", "for"])
def test_an_expression_that_fails_is_said_with_its_reason(expression: str) -> None:
    with pytest.raises(NamespaceError, match=r"(?s)Got .* as model, and evaluating it failed \(\w+Error: "):
        evaluate(expression, a_notebook(), "model")


# ---- the validation loader -------------------------------------------------------------------------------------------


def train_dl(namespace: dict[str, object]) -> Found:
    return Found("train_dl", namespace["train_dl"])


@pytest.mark.parametrize("name", ["valid_dl", "val_loader", "valLoader", "dl_validation", "x_val", "eval_dl"])
def test_the_one_loader_named_after_validation_is_found(name: str) -> None:
    namespace = a_notebook(**{name: a_loader()})
    found = find_validation(namespace, train_dl(namespace), told=False)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("training", "validation"),
    [("train_dl", "valid_dl"), ("train_loader", "val_loader"), ("loader", "val_loader"), ("dl_train", "dl_val")],
)
def test_beside_a_loader_that_was_named_its_namesake_validates(training: str, validation: str) -> None:
    namespace = {training: a_loader(), validation: a_loader(), "other_valid": a_loader()}
    found = find_validation(namespace, Found(training, namespace[training]), told=True)
    assert found is not None
    assert found.name == validation


def test_beside_a_loader_that_was_named_another_models_loader_does_not_validate() -> None:
    namespace = a_notebook(val_loader=a_loader())
    assert find_validation(namespace, Found("text_dl", a_loader()), told=True) is None


def test_a_model_that_takes_labels_gets_no_loss_of_another_models() -> None:
    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            return self.layer(x)

    model = Labelled()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    namespace = {"model": model, "optimizer": optimizer, "train_dl": a_loader(), "criterion": nn.CrossEntropyLoss()}
    assert find_missing({}, namespace)["loss_fn"].value is None


def test_none_and_two_validation_loaders_are_none() -> None:
    namespace = a_notebook()
    assert find_validation(namespace, train_dl(namespace), told=False) is None
    namespace |= {"val_a": a_loader(), "val_b": a_loader()}
    assert find_validation(namespace, train_dl(namespace), told=False) is None


def test_the_training_loader_does_not_validate_itself() -> None:
    namespace = a_notebook()
    namespace["val_dl"] = namespace["train_dl"]
    assert find_validation(namespace, train_dl(namespace), told=False) is None


@pytest.mark.parametrize("name", ["interval_dl", "evaluated", "retrieval_dl", "values", "test_dl"])
def test_a_name_that_merely_holds_val_is_no_validation_loader(name: str) -> None:
    namespace = a_notebook(**{name: a_loader()})
    assert find_validation(namespace, train_dl(namespace), told=False) is None
