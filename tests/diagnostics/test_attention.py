from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from bassl.diagnostics.attention import attention_figure, attention_weights, center_attention
from bassl.errors import InputError
from bassl.model.crn import ContextualRelationNetwork, SelfAttention
from tests.diagnostics.drawing import plain_keyframe, texts
from tests.reference import data, fill


def small_crn(num_layers: int = 2) -> ContextualRelationNetwork:
    crn = ContextualRelationNetwork(
        input_dim=12, hidden_dim=16, num_layers=num_layers, num_heads=4, intermediate_dim=20, num_shots=5
    )
    return crn.eval()


def test_one_head_by_hand() -> None:
    attention = SelfAttention(hidden_dim=2, num_heads=1, dropout=0.0)
    with torch.no_grad():
        for layer in (attention.query, attention.key):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    weights = attention_weights(attention, torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]))
    a, b = np.exp(4 / 2**0.5), np.exp(1 / 2**0.5)
    expected = torch.tensor([[a / (a + 1), 1 / (a + 1)], [1 / (1 + b), b / (1 + b)]], dtype=torch.float32)
    torch.testing.assert_close(weights[0, 0], expected)


def test_weights_times_values_are_what_the_network_computes() -> None:
    attention = SelfAttention(hidden_dim=16, num_heads=4, dropout=0.1).eval()
    tokens = data(0, (3, 6, 16))
    weights = attention_weights(attention, tokens)
    assert weights.shape == (3, 4, 6, 6)
    value = rearrange(attention.value(tokens), "b t (heads dim) -> b heads t dim", heads=4)
    attended = rearrange(weights @ value, "b heads t dim -> b t (heads dim)")
    torch.testing.assert_close(attended, attention(tokens, tokens))


def test_weights_equal_the_slow_softmax() -> None:
    attention = SelfAttention(hidden_dim=6, num_heads=2, dropout=0.0).requires_grad_(False)
    tokens = data(1, (1, 4, 6))
    weights = attention_weights(attention, tokens)
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        for query in range(4):
            scores = [
                float(attention.query(tokens[0, query])[part] @ attention.key(tokens[0, key])[part]) / 3**0.5
                for key in range(4)
            ]
            shares = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[0, head, query].numpy(), shares, rtol=1e-5)


def test_the_centre_shot_is_the_token_that_centre_pooling_reads() -> None:
    crn = small_crn(1)
    shots = data(2, (2, 5, 12))
    tokens = crn.shot_embedding(shots)
    weights = attention_weights(crn.encoder.layer[0].attention["self"], tokens)  # type: ignore[arg-type,index,union-attr]
    torch.testing.assert_close(center_attention(crn, shots)[:, 0], weights[:, :, 3].mean(1))
    torch.testing.assert_close(crn.pool(crn(shots)), crn(shots)[:, 3])


def test_every_layer_has_shares_of_one() -> None:
    weights = center_attention(small_crn(3), data(3, (4, 5, 12)))
    assert weights.shape == (4, 3, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3))


def test_later_layers_read_what_earlier_ones_wrote() -> None:
    crn = small_crn(2)
    shots = data(4, (2, 5, 12))
    inputs: list[torch.Tensor] = []
    last = crn.encoder.layer[1].attention["self"]  # type: ignore[index,union-attr]
    handle = last.register_forward_pre_hook(lambda module, given: inputs.append(given[1]))  # type: ignore[union-attr]
    crn(shots)
    handle.remove()
    expected = attention_weights(last, inputs[0])[:, :, 3].mean(1)  # type: ignore[arg-type]
    torch.testing.assert_close(center_attention(crn, shots)[:, 1], expected)


def test_the_network_is_left_as_it_was() -> None:
    crn = small_crn()
    shots = data(5, (2, 5, 12))
    before = crn(shots)
    weights = center_attention(crn, shots)
    assert not weights.requires_grad
    torch.testing.assert_close(crn(shots), before)


def test_the_published_network_is_read_as_it_is() -> None:
    crn = ContextualRelationNetwork().eval()
    fill(crn)
    weights = center_attention(crn, data(6, (1, 17, 2048)))
    assert weights.shape == (1, 2, 18)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2))


def test_a_training_network_and_another_window_are_refused() -> None:
    with pytest.raises(AssertionError, match="eval mode"):
        center_attention(small_crn().train(), data(0, (1, 5, 12)))
    with pytest.raises(InputError, match="windows of 7 shots"):
        center_attention(small_crn(), data(0, (1, 7, 12)))


def shares(num_windows: int = 2, num_layers: int = 2, num_shots: int = 5) -> torch.Tensor:
    return data(0, (num_windows, num_layers, num_shots + 1)).softmax(-1)


def test_the_picture_holds_keyframes_shares_and_the_framed_centre() -> None:
    shots = torch.arange(10).reshape(2, 5)
    weights = shares()
    figure = attention_figure("film", weights, shots, plain_keyframe, ["first", "second"])
    (axes,) = figure.axes
    tiles = [image for image in axes.images if np.asarray(image.get_array()).ndim == 3]
    heats = [np.asarray(image.get_array()) for image in axes.images if np.asarray(image.get_array()).ndim == 2]
    assert len(tiles) == 10
    assert len(heats) == 2
    np.testing.assert_allclose(np.stack(heats), weights.numpy())
    frames = [patch for patch in axes.patches if patch.get_label() == "centre shot"]
    assert len(frames) == 2
    left, right, _, _ = tiles[2].get_extent()  # the third of five shots
    assert left <= frames[0].get_x() + frames[0].get_width() / 2 <= right
    found = texts(figure)
    assert {"first", "second", "CLS", "layer 1", "layer 2", "9"} <= set(found)
    percents = [f"{100 * share:.0f}" for share in weights.flatten().tolist()]
    assert all(percent in found for percent in percents)


@pytest.mark.parametrize(
    ("weights", "shots", "notes"),
    [
        (shares()[0], torch.zeros(2, 5), ()),
        (shares(), torch.zeros(2, 6), ()),
        (shares(), torch.zeros(1, 5), ()),
        (shares(), torch.zeros(2, 5), ("only one",)),
    ],
)
def test_what_does_not_belong_together_is_refused(
    weights: torch.Tensor, shots: torch.Tensor, notes: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match=r"give \(B, L, S \+ 1\), \(B, S\), B notes"):
        attention_figure("film", weights, shots, plain_keyframe, notes)


def test_features_that_are_not_finite_are_refused() -> None:
    shots = data(0, (2, 5, 12))
    shots[1, 3, 0] = torch.nan
    with pytest.raises(InputError, match="not finite; extract them again"):
        center_attention(small_crn(), shots)
