"""Models are split as a practitioner would, and an optimizer is regrouped by it without losing anything."""

import copy
import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lrwidget.engine.loops.groups as groups
from lrwidget.engine.errors import InputError, InputTypeError, ModelMismatchError
from lrwidget.engine.loops.layers import LayerGroups, layer_groups
from lrwidget.engine.loops.regroup import regroup, ungroup
from tests.engine.oracle import changes, of_everything
from tests.engine.zoo import MODELS, adam, loader, net, train

# Models as people build them, small -----------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """Two convolutions around which a residual goes."""

    def __init__(self, width: int, wider: bool) -> None:
        super().__init__()
        out = 2 * width if wider else width
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3), nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(width, out, 1), nn.BatchNorm2d(out)) if wider else None


class ResNet18(nn.Module):
    """Laid out like torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(BasicBlock(4, False), BasicBlock(4, False))
        self.layer2 = nn.Sequential(BasicBlock(4, True), BasicBlock(8, False))
        self.layer3 = nn.Sequential(BasicBlock(8, True), BasicBlock(16, False))
        self.layer4 = nn.Sequential(BasicBlock(16, True), BasicBlock(32, False))
        self.fc = nn.Linear(32, 10)


class BertLayer(nn.Module):
    """Attention and feed-forward, with two norms."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dense, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down, self.norm2 = nn.Linear(width, 16), nn.Linear(16, width), nn.LayerNorm(width)


class Bert(nn.Module):
    """Laid out like a transformer for sequence classification."""

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.bert = nn.Module()
        self.bert.embeddings = nn.Module()
        self.bert.embeddings.word, self.bert.embeddings.norm = nn.Embedding(50, 8), nn.LayerNorm(8)
        self.bert.encoder = nn.Module()
        self.bert.encoder.layer = nn.ModuleList(BertLayer() for _ in range(depth))
        self.classifier = nn.Linear(8, 2)


class ViT(nn.Module):
    """Has parameters of its own beside its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 5, 8))
        self.patch_embed = nn.Conv2d(3, 8, 4)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(6)))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)


def vgg() -> nn.Module:
    features = nn.Sequential(*(layer for _ in range(13) for layer in (nn.Conv2d(4, 4, 3), nn.ReLU())))
    model = nn.Module()
    model.features, model.classifier = features, nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return model


class TiedLM(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(20, 8)
        self.transformer.h = nn.ModuleList(BertLayer() for _ in range(4))
        self.transformer.ln_f = nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, 20, bias=False)
        self.lm_head.weight = self.transformer.wte.weight


def tops(found: LayerGroups, depth: int = 1) -> list[list[str]]:
    """The modules of every group, as deep as asked for."""
    return [list(dict.fromkeys(".".join(path.split(".")[:depth]) for path in group.layers)) for group in found]


def covers(model: nn.Module, found: LayerGroups) -> bool:
    """Whether every parameter is in exactly one group."""
    ids = [id(p) for group in found for p in group.parameters]
    return sorted(ids) == sorted(id(p) for p in model.parameters()) and len(ids) == len(set(ids))


def test_a_resnet_is_cut_where_fastai_cuts_it() -> None:
    model = ResNet18()
    found = layer_groups(model)
    assert [group.name for group in found] == ["stem", "body", "head"]
    assert tops(found) == [["conv1", "bn1", "layer1", "layer2"], ["layer3", "layer4"], ["fc"]]
    assert covers(model, found)


def test_residual_blocks_are_kept_whole_in_finer_splits() -> None:
    model = ResNet18()
    for n in range(2, 10):
        found = layer_groups(model, n)
        assert len(found) == n
        assert covers(model, found)
        homes: dict[str, set[str]] = {}
        for group in found:
            for path in group.layers:
                if path.startswith("layer"):
                    homes.setdefault(".".join(path.split(".")[:2]), set()).add(group.name)
        assert all(len(names) == 1 for names in homes.values()), n


def test_a_transformer_is_cut_between_its_blocks() -> None:
    model = Bert()
    found = layer_groups(model)
    assert covers(model, found)
    assert tops(found, 4)[0] == [
        "bert.embeddings.word",
        "bert.embeddings.norm",
        *(f"bert.encoder.layer.{i}" for i in range(6)),
    ]
    assert tops(found, 4)[1] == [f"bert.encoder.layer.{i}" for i in range(6, 12)]
    assert found[2].layers == ("classifier",)


def test_tokens_and_tables_belong_to_the_stem_and_the_last_norm_to_the_block_before_it() -> None:
    model = ViT()
    found = layer_groups(model)
    assert covers(model, found)
    assert found[0].layers[:3] == ("cls_token", "pos_embed", "patch_embed")
    assert found[1].layers[-1] == "norm"
    assert found[2].layers == ("head",)
    assert tops(found, 2)[1][:3] == ["blocks.3", "blocks.4", "blocks.5"]


class HeadFirst(nn.Module):
    """Defines its head before everything else, as people do who list what they configure first."""

    def __init__(self, head: str = "head") -> None:
        super().__init__()
        setattr(self, head, nn.Linear(8, 3))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.patch = nn.Conv2d(3, 8, 4)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(4)))
        self.norm = nn.LayerNorm(8)


class Backbone(nn.Module):
    """A wrapper around one model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model


@pytest.mark.parametrize("head", ["head", "fc", "classifier", "lm_head", "seg_head", "score"])
@pytest.mark.parametrize("wrap", [lambda model: model, Backbone])
def test_a_head_that_is_defined_first_is_the_head_all_the_same(head: str, wrap: Any) -> None:
    model = wrap(HeadFirst(head))
    prefix = "backbone." if isinstance(model, Backbone) else ""
    for n in (2, 3, 5):
        found = layer_groups(model, n)
        assert covers(model, found)
        assert found[-1].layers == (f"{prefix}{head}",)
        assert found[0].layers[:2] == (f"{prefix}cls_token", f"{prefix}patch")
    assert found[-2].layers[-1] == f"{prefix}norm"
    assert [group.name for group in layer_groups(model, per_layer=True)][-1] == f"{prefix}{head}"


def test_a_head_with_a_tail_beside_it_and_one_in_a_sequential_stand_where_they_are() -> None:
    layers = {"head": nn.Linear(2, 2), "body": nn.Linear(2, 2), "tail": nn.Linear(2, 2)}
    restoring = nn.Module()
    for name, layer in layers.items():
        restoring.add_module(name, layer)
    assert [group.layers for group in layer_groups(restoring)] == [("head",), ("body",), ("tail",)]
    row = nn.Sequential()
    for name in ("classifier", "body", "last"):
        row.add_module(name, nn.Linear(2, 2))
    assert [group.layers for group in layer_groups(row)] == [("classifier",), ("body",), ("last",)]


def test_a_head_is_kept_whole_as_long_as_the_rest_can_be_cut() -> None:
    model = nn.Module()
    model.classifier = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model.first, model.second = nn.Linear(4, 4), nn.Linear(4, 4)
    assert [group.layers for group in layer_groups(model)] == [
        ("first",),
        ("second",),
        ("classifier.0", "classifier.1", "classifier.2", "classifier.3"),
    ]
    found = layer_groups(model, 4)
    assert covers(model, found)
    assert [group.layers for group in found][-1] == ("classifier.3",)


def test_a_head_that_is_tied_leaves_its_weight_to_the_stem_wherever_it_is_defined() -> None:
    model = nn.Module()
    model.lm_head = nn.Linear(8, 20, bias=False)
    model.wte = nn.Embedding(20, 8)
    model.wte.weight = model.lm_head.weight
    model.h = nn.ModuleList(BertLayer() for _ in range(3))
    found = layer_groups(model)
    assert covers(model, found)
    assert found[0].layers[0] == "wte"
    assert tops(found, 2)[-1] == ["h.2"]


def test_parameters_beside_layers_go_by_their_own_names_and_with_what_follows_them() -> None:
    model = nn.Module()
    model.conv = nn.Conv2d(3, 3, 3)
    model.vit = ViT()
    model.fc = nn.Linear(3, 2)
    found = layer_groups(model, per_layer=True)
    assert covers(model, found)
    assert [group.layers for group in found][1] == ("vit.cls_token", "vit.pos_embed", "vit.patch_embed")
    attention = next(group for group in found if "vit.blocks.2.self_attn" in group.layers)
    assert attention.layers == ("vit.blocks.2.self_attn",)
    assert len(attention.parameters) == 4
    chosen = layer_groups(model, by={"tokens": ["vit.cls_token", "vit.pos_embed"], "rest": ...})
    assert chosen[0].layers == ("vit.cls_token", "vit.pos_embed")


def test_a_model_of_nothing_but_its_own_weights_is_cut_between_them() -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i in (1, 2, 3):
                self.register_parameter(f"w{i}", nn.Parameter(torch.zeros(4, 4)))
                self.register_parameter(f"b{i}", nn.Parameter(torch.zeros(4)))

    model = ByHand()
    found = layer_groups(model)
    assert covers(model, found)
    assert [group.layers for group in found] == [("w1", "b1"), ("w2", "b2"), ("w3", "b3")]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regroup(optimizer, found)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2, 2]


def test_a_classifier_of_several_layers_is_the_head() -> None:
    model = vgg()
    found = layer_groups(model)
    assert found[2].layers == ("classifier.0", "classifier.2")
    assert [len(group.layers) for group in found[:2]] in ([6, 7], [7, 6])


def test_a_tied_head_counts_where_its_weight_was_first() -> None:
    model = TiedLM()
    found = layer_groups(model)
    assert covers(model, found)
    assert "transformer.wte" in found[0].layers
    assert found[2].layers[-1] == "transformer.ln_f"
    assert tops(found, 3)[2] == ["transformer.h.3", "transformer.ln_f"]


def test_a_plain_mlp_is_a_layer_per_group() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    assert [group.layers for group in layer_groups(model)] == [("0",), ("2", "3"), ("4",)]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_zoo_can_be_split_in_one_and_two(name: str) -> None:
    model = MODELS[name]()
    for n in (1, 2):
        try:
            found = layer_groups(model, n)
        except InputError as error:
            assert n == 2 and "of 1 layers" in str(error)
        else:
            assert covers(model, found)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrappers_are_looked_through(wrap: Any) -> None:
    inner = net()
    assert [group.layers for group in layer_groups(wrap(inner), 2)] == [("0", "1"), ("4",)]
    optimizer = torch.optim.SGD(layer_groups(wrap(inner), 2).param_groups(lr=0.1))
    assert groups.describe(wrap(inner), [optimizer])[0].layers == ("0", "1")


def test_weight_normed_layers_are_named_as_layers() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert [group.layers for group in layer_groups(model, 2)] == [("0",), ("1",)]


# By name, by function, per layer --------------------------------------------------------------------------------------


def test_layers_can_be_chosen_by_name_and_prefix() -> None:
    model = ResNet18()
    found = layer_groups(model, by=[["conv1", "bn1"], "layer", "fc"])
    assert covers(model, found)
    assert tops(found) == [["conv1", "bn1"], ["layer1", "layer2", "layer3", "layer4"], ["fc"]]
    assert [group.name for group in found] == ["conv1 + bn1", "layer", "fc"]


def test_the_longest_name_wins_and_dots_take_the_rest() -> None:
    model = ResNet18()
    found = layer_groups(model, by={"rest": ..., "late": ["layer3", "layer4"], "last block": "layer4.1"})
    assert covers(model, found)
    assert [group.name for group in found] == ["rest", "late", "last block"]
    assert tops(found, 2)[2] == ["layer4.1"]
    assert "fc" in found[0].layers


def test_the_name_of_one_layer_does_not_stand_for_those_whose_names_it_begins() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))
    found = layer_groups(model, by=["1", ...])
    assert found[0].layers == ("1",)
    assert found[1].layers == ("0", *map(str, range(2, 12)))


def test_layers_can_be_chosen_by_a_function_as_fastais_splitters_do() -> None:
    model = ResNet18()
    found = layer_groups(
        model,
        by=lambda m: [
            [m.conv1, m.bn1, m.layer1],
            nn.ModuleList([m.layer2, m.layer3, m.layer4]),
            list(m.fc.parameters()),
        ],
    )
    assert covers(model, found)
    assert [group.name for group in found] == ["stem", "body", "head"]
    assert covers(
        model, layer_groups(model, by=lambda m: [(p for p in m.parameters() if p is not m.fc.bias), m.fc.bias])
    )
    named = layer_groups(model, by=lambda m: {"a": [p for k, p in m.named_parameters() if "fc" not in k], "b": m.fc})
    assert [group.name for group in named] == ["a", "b"]


def test_a_function_may_part_the_parameters_of_one_layer() -> None:
    model = net()
    found = layer_groups(
        model,
        by=lambda m: {
            "decay": [p for p in m.parameters() if p.ndim >= 2],
            "no decay": [p for p in m.parameters() if p.ndim < 2],
        },
    )
    assert covers(model, found)
    assert found[0].layers == ("0", "4")


def test_per_layer_spreads_lrs_geometrically_inside_each_part() -> None:
    model = Bert(4)
    found = layer_groups(model, per_layer=True)
    assert covers(model, found)
    assert found.parts == ("stem", "body", "head")
    lrs = found.lrs((1e-5, 1e-4, 1e-2))
    by_part = {part: [lr for lr, g in zip(lrs, found, strict=True) if g.part == part] for part in found.parts}
    assert by_part["stem"][0] == pytest.approx(1e-5)
    assert by_part["body"][0] == pytest.approx(1e-4)
    assert by_part["head"] == [1e-2]
    for part, factor in (("stem", 10), ("body", 100)):
        ratios = [b / a for a, b in itertools.pairwise(by_part[part])]
        assert ratios == pytest.approx([factor ** (1 / len(by_part[part]))] * len(ratios))
    assert all(a < b for a, b in itertools.pairwise(lrs))


def test_groups_make_an_optimizer_at_once() -> None:
    model = ResNet18()
    by_hand = torch.optim.AdamW([{"params": g.parameters, "name": g.name} for g in layer_groups(model)])
    assert [group.name for group in groups.describe(model, [by_hand])] == ["stem", "body", "head"]
    with_lrs = torch.optim.AdamW(layer_groups(model).param_groups(lr=slice(1e-5, 1e-3)))
    assert groups.get_lrs([with_lrs]) == pytest.approx((1e-5, 1e-4, 1e-3))
    assert sum(group.n_params for group in layer_groups(model)) == sum(p.numel() for p in model.parameters())


def test_a_number_of_groups_may_be_numpys() -> None:
    assert len(layer_groups(ResNet18(), np.int64(4))) == 4


def test_a_split_says_which_layers_are_where() -> None:
    assert re.search(r"head: 330 params in 1 layer \(fc\)", repr(layer_groups(ResNet18())))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, r"Got n=0; expected a whole number"),
        ({"n": 2.5}, r"Got n=2.5; expected a whole number"),
        ({"n": 9}, r"Got n=9 for a Sequential of 2 layers; expected 1 to 2"),
        ({"by": ["0"]}, r"names that leave out 1, 4; expected every layer.*Add `\.\.\.`"),
        ({"by": ["0", "missing", ...]}, r"Got \['missing'\] as the layers of a group.*there are 0, 1, 4"),
        ({"by": lambda m: [m[0], m]}, r"Got a parameter in two groups"),
        ({"by": lambda m: [m[0]]}, r"Got groups without 1; expected every layer"),
    ],
)
def test_a_split_that_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layer_groups(net(), **arguments)


@pytest.mark.parametrize("by", [lambda m: None, lambda m: [3], lambda m: "all"])
def test_a_function_that_returns_no_groups_is_told_to(by: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^Got a .*expected"):
        layer_groups(net(), by=by)


def test_what_has_no_layers_is_refused() -> None:
    with pytest.raises(InputError, match=r"^Got a ReLU without parameters"):
        layer_groups(nn.ReLU())
    with pytest.raises(InputTypeError, match=r"^Got a str; expected a torch.nn.Module"):
        layer_groups("net")  # type: ignore[arg-type]


# Regrouping -----------------------------------------------------------------------------------------------------------


def test_regrouping_keeps_the_state_and_is_undone_exactly() -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    train(model, optimizer, loader(), 3)
    before = of_everything(model, optimizer)
    state = {id(p): id(entry) for p, entry in optimizer.state.items()}
    regrouped = regroup(optimizer, layer_groups(model, 2))
    assert [group["name"] for group in optimizer.param_groups] == ["body", "head"]
    assert all(group["weight_decay"] == 0.1 and group["lr"] == 1e-3 for group in optimizer.param_groups)
    assert {id(p): id(entry) for p, entry in optimizer.state.items()} == state
    optimizer.param_groups[0]["lr"] = 5.0
    ungroup(regrouped)
    assert not changes(before, of_everything(model, optimizer))


def test_training_goes_on_the_same_in_other_groups_of_equal_lrs() -> None:
    def trained(split: bool) -> list[float]:
        torch.manual_seed(0)
        model, batches = net(), loader()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses = train(model, optimizer, batches, 3)
        if split:
            regroup(optimizer, layer_groups(model, 2))
        return losses + train(model, optimizer, batches, 3)

    assert trained(split=True) == trained(split=False)


def test_options_of_parameters_survive_regrouping() -> None:
    model, loss_weight = net(), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1, "name": "decay"},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
            {"params": [loss_weight], "lr": 0.5, "name": "loss"},
        ]
    )
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    regroup(optimizer, layer_groups(model, 2))
    assert {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]} == decay
    names = [group.name for group in groups.describe(model, [optimizer])]
    assert names == ["body · decay", "body · 2", "head · decay", "head · 2", "loss"]


def test_tensor_lrs_and_named_parameters_are_regrouped_too() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=torch.tensor(0.1), momentum=0.9)
    regrouped = regroup(optimizer, layer_groups(model, 2))
    assert [group["param_names"] for group in optimizer.param_groups] == [
        ["0.weight", "0.bias", "1.weight", "1.bias"],
        ["4.weight", "4.bias"],
    ]
    groups.set_lrs(optimizer.param_groups, [0.1, 0.2])
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.1, 0.2])
    ungroup(regrouped)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_groups_added_since_stay() -> None:
    model, more = net(), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regrouped = regroup(optimizer, layer_groups(model, 2))
    optimizer.add_param_group({"params": [more]})
    ungroup(regrouped)
    assert [len(group["params"]) for group in optimizer.param_groups] == [6, 1]


def test_only_what_the_optimizer_trains_is_regrouped() -> None:
    model = net()
    optimizer = torch.optim.SGD(model[4].parameters(), lr=0.1)
    regroup(optimizer, layer_groups(model, 2))
    assert [group["name"] for group in optimizer.param_groups] == ["head"]


def test_what_cannot_be_regrouped_is_refused() -> None:
    model = net()
    with pytest.raises(InputError, match=r"^Got an LBFGS optimizer; expected"):
        regroup(torch.optim.LBFGS(model.parameters()), layer_groups(model, 2))
    with pytest.raises(ModelMismatchError, match=r"^Got an optimizer that trains none of these layers"):
        regroup(adam(net()), layer_groups(model, 2))


def test_regrouping_a_copy_leaves_the_original() -> None:
    model = net()
    optimizer = adam(model)
    before = of_everything(model, optimizer)
    twin = copy.deepcopy(optimizer)
    with pytest.raises(ModelMismatchError):
        regroup(twin, layer_groups(model, 2))
    assert not changes(before, of_everything(model, optimizer))
    assert F is not None


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (["0", "0", ...], r"^Got \['0'\] as the layers of a group, all of which are in another group"),
        (["0", "2", "4", ...], r"leaves no layer for `...`; expected a rest"),
        (["0", "9", ...], r"^Got \['9'\] as the layers of a group, which no layer is called"),
    ],
)
def test_a_group_that_gets_no_layer_is_told_why(by: Any, told: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(InputError, match=told):
        layer_groups(model, by=by)
