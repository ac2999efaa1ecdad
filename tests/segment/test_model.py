from __future__ import annotations

import numpy as np
import pytest
import torch

from bassl.dataset.transform import normalize, resize_and_crop
from bassl.dataset.window import clipped_window
from bassl.errors import InputError
from bassl.model.boundary_scorer import SimilarityHead
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.scene_posterior import boundary_posterior
from bassl.model.shot_encoder import ShotEncoder
from bassl.segment.model import load_model
from bassl.segment.networks import choose_device
from tests.segment.models import DIM, HIDDEN, save, save_encoder, save_finetuned, save_pretrained, weights


def modules():
    """The modules of `weights`, loaded by hand."""
    encoder = ShotEncoder.build(18)
    crn = ContextualRelationNetwork(DIM, HIDDEN, num_layers=1, num_heads=8, intermediate_dim=64)
    head = torch.nn.Linear(HIDDEN, 2)
    for name, module in (("shot_encoder", encoder), ("crn", crn), ("head_sbd", head)):
        own = {key.removeprefix(f"{name}."): value for key, value in weights().items() if key.startswith(f"{name}.")}
        module.load_state_dict(own)
        module.eval()
    return encoder, crn, head


def test_features_are_the_mean_over_key_frames_of_the_test_time_transform(tmp_path):
    model = load_model(save_finetuned(tmp_path / "last.ckpt"), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (6, 240, 426, 3), dtype=np.uint8)
    features = model.encoder.encode(
        [[model.encoder.prepare(image) for image in shot] for shot in images.reshape(2, 3, 240, 426, 3)]
    )
    encoder, _, _ = modules()
    with torch.no_grad():
        cropped = resize_and_crop(torch.from_numpy(images).permute(0, 3, 1, 2), 256, 224)
        expected = encoder(normalize(cropped)).unflatten(0, (2, 3)).mean(1)
    assert features.shape == (2, DIM)
    loose = choose_device("cpu")[1] != torch.float32
    np.testing.assert_allclose(features, expected, rtol=0.1 if loose else 1e-4, atol=0.1 if loose else 1e-4)


@pytest.mark.parametrize("num_shots", [1, 40])
def test_scores_are_those_of_every_shots_clipped_window(tmp_path, num_shots):
    model = load_model(save_finetuned(tmp_path / "last.ckpt"), device="cpu")
    features = np.random.default_rng(1).standard_normal((num_shots, DIM)).astype(np.float32)
    _, crn, head = modules()
    expected = []
    for shot in range(num_shots):
        window = torch.from_numpy(features[clipped_window(shot, num_shots)])[None]
        expected.append(head(crn.pool(crn(window))).softmax(1)[0, 1].item())
    found = model.score(features).probability
    np.testing.assert_allclose(found[:-1], expected[:-1], atol=1e-6)
    assert found.shape == (num_shots,)
    assert np.isnan(found[-1])


def test_a_fine_tuned_model_brings_its_threshold_window_and_transform(tmp_path):
    about = {"threshold": 0.31, "neighbor_interval": 2, "transform": {"resize": 128, "crop": 96}}
    model = load_model(save_finetuned(tmp_path / "mine" / "last.ckpt", **about), device="cpu")
    assert (model.info.name, model.info.kind, model.info.threshold) == ("mine", "fine-tuned", 0.31)
    assert (model.encoder.transform.resize, model.encoder.transform.crop) == (128, 96)
    assert model.encoder.prepare(np.zeros((240, 426, 3), np.uint8)).shape == (3, 96, 96)
    features = np.random.default_rng(1).standard_normal((30, DIM)).astype(np.float32)
    _, crn, head = modules()
    window = torch.from_numpy(features[clipped_window(12, 30, interval=2)])[None]
    assert model.score(features).probability[12] == pytest.approx(
        head(crn.pooled(window)).softmax(1)[0, 1].item(), abs=1e-6
    )


def test_a_pre_trained_model_scores_zero_shot_with_its_pseudo_boundary_head(tmp_path):
    tuned = load_model(save_finetuned(tmp_path / "a.ckpt", threshold=float("nan")), device="cpu")
    model = load_model(save_pretrained(tmp_path / "b.ckpt"), device="cpu")
    features = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    assert (model.info.kind, model.info.threshold, tuned.info.threshold) == ("zero-shot", None, None)
    assert "never seen a scene label" in model.info.sentence
    np.testing.assert_array_equal(model.score(features).probability, tuned.score(features).probability)


def test_a_pre_trained_model_brings_the_transform_of_its_run(tmp_path):
    config = {"TRANSFORM": {"test": {"resize": 128, "crop": 96}}}
    model = load_model(save_pretrained(tmp_path / "a.ckpt", config=config), device="cpu")
    assert (model.encoder.transform.resize, model.encoder.transform.crop) == (128, 96)


def test_a_model_with_a_similarity_head_is_scored_with_it(tmp_path):
    torch.manual_seed(3)
    head = SimilarityHead(DIM, num_shots=9)
    head.mean.normal_()
    state = {name: value for name, value in weights().items() if name.startswith("shot_encoder")}
    path = save(tmp_path / "last.ckpt", state | {f"similarity.{n}": v for n, v in head.state_dict().items()})
    model = load_model(path, device="cpu")
    features = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    windows = torch.from_numpy(np.stack([features[clipped_window(shot, 20, neighbor_size=4)] for shot in range(20)]))
    expected = head.eval()(windows).softmax(1)[:, 1].detach()
    assert model.info.kind == "fine-tuned"
    np.testing.assert_allclose(model.score(features).probability[:-1], expected[:-1], atol=1e-6)


def test_an_encoder_alone_scores_without_training_by_the_scene_posterior(tmp_path):
    path = save_encoder(tmp_path / "mine" / "last.ckpt")
    features = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    lengths = np.arange(1, 21)
    model = load_model(path, device="cpu")
    scores = model.score(features, lengths)
    assert (model.info.name, model.info.kind, model.info.scorer) == ("mine", "training-free", "posterior")
    np.testing.assert_array_equal(scores.probability, boundary_posterior(features, lengths))
    np.testing.assert_array_equal(scores.training_free, scores.probability)
    assert not np.array_equal(scores.probability, model.score(features).probability, equal_nan=True)


def test_the_similarity_scorer_stays_available_by_name(tmp_path):
    model = load_model(save_encoder(tmp_path / "last.ckpt"), device="cpu", scorer="similarity")
    features = np.repeat(np.eye(2, DIM, dtype=np.float32), 5, axis=0)
    probability = model.score(features).probability
    np.testing.assert_allclose(probability[:-1], [0, 0, 0, 0, 0.5, 0, 0, 0, 0], atol=1e-6)
    assert np.isnan(probability[-1])


def test_a_decoder_takes_the_learnt_logits_standardised_and_halved(tmp_path):
    path = save_finetuned(tmp_path / "last.ckpt", threshold=0.4)
    features = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    lengths = np.arange(1, 21)
    plain = load_model(path, device="cpu").score(features, lengths)
    decoded = load_model(path, device="cpu", decoder="posterior").score(features, lengths)
    logits = np.log(plain.probability[:-1] / (1 - plain.probability[:-1]))
    unary = np.append((logits - logits.mean()) / logits.std() / 2, 0)
    np.testing.assert_allclose(
        decoded.probability[:-1], boundary_posterior(features, lengths, unary=unary)[:-1], rtol=1e-3
    )
    assert (plain.model.is_calibrated, decoded.model.is_calibrated) == (True, False)


def test_a_models_metadata_can_ask_for_a_decoder_and_the_user_can_refuse(tmp_path):
    path = save_finetuned(tmp_path / "last.ckpt", decoder="posterior")
    assert load_model(path, device="cpu").info.decoder == "posterior"
    assert load_model(path, device="cpu", decoder="none").info.decoder == "none"
    with pytest.raises(InputError, match="needs a learnt model"):
        load_model(None, encoder="colour", decoder="posterior")


def test_a_model_without_encoder_needs_the_one_it_was_trained_with(tmp_path):
    encoder = save_encoder(tmp_path / "encoder" / "last.ckpt")
    own = load_model(encoder, device="cpu").info
    wanted = {"name": "encoder", "sha256": own.sha256}
    path = save_finetuned(tmp_path / "head" / "last.ckpt", with_encoder=False, feature_model=wanted)
    with pytest.raises(InputError, match="came from, encoder, with --encoder"):
        load_model(path, device="cpu")
    model = load_model(path, encoder=encoder, device="cpu")
    assert (model.info.name, model.info.encoder, model.info.encoder_id) == ("head", "encoder", own.encoder_id)
    with pytest.raises(InputError, match="another checkpoint"):
        load_model(path, encoder=save_encoder(tmp_path / "other" / "last.ckpt", seed=1), device="cpu")


def test_an_encoder_of_another_width_is_refused(tmp_path):
    state = {name: value for name, value in weights().items() if not name.startswith("crn")}
    crn = ContextualRelationNetwork(300, HIDDEN, num_layers=1, num_heads=8, intermediate_dim=64).state_dict()
    path = save(tmp_path / "last.ckpt", state | {f"crn.{name}": value for name, value in crn.items()})
    with pytest.raises(InputError, match="takes 300 features per shot, the encoder returns 512"):
        load_model(path, device="cpu")


def test_imagenet_weights_that_cannot_be_downloaded_are_one_clear_error():
    with pytest.raises(InputError, match=r"cannot be downloaded .*--encoder colour"):
        load_model(None, encoder="imagenet", device="cpu")


def test_features_are_identified_by_weights_and_transform_alone(tmp_path):
    first = load_model(save_finetuned(tmp_path / "a.ckpt"), device="cpu").info.encoder_id
    assert load_model(save_pretrained(tmp_path / "b.ckpt"), device="cpu").info.encoder_id == first
    assert load_model(save_encoder(tmp_path / "c.ckpt", seed=1), device="cpu").info.encoder_id != first
    other = save_finetuned(tmp_path / "d.ckpt", transform={"resize": 128, "crop": 96})
    assert load_model(other, device="cpu").info.encoder_id != first


@pytest.mark.parametrize(("device", "message"), [
    ("gpu", "unknown"), ("cuda:x", "unknown"), ("cuda:99", "there is no cuda:99"), ("cpu,tpu", "'tpu'"),
])  # fmt: skip
def test_devices_that_are_not_there_are_refused(tmp_path, device, message):
    with pytest.raises(InputError, match=message):
        load_model(save_encoder(tmp_path / "last.ckpt"), device=device)
