"""Joint quantization's check: precision of detections on small cases, and verdicts from made-up trials."""

import pytest
import torch

from papers import detector, joint_quantization

TRUTH = [torch.tensor([[0.0, 0, 0, 10, 10], [0, 20, 20, 30, 30]]), torch.tensor([[1.0, 0, 0, 10, 10]])]


def found(*rows):
    return torch.tensor(rows).view(-1, 6)


def test_overlap_is_the_shared_part_of_both():
    first = torch.tensor([[0.0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert detector.overlaps(first, second).tolist() == [[1, pytest.approx(1 / 3), 0]]


def test_precision_counts_every_box_once():
    exact = [found((0, 0.9, 0, 0, 10, 10), (0, 0.8, 20, 20, 30, 30)), found((1, 0.9, 0, 0, 10, 10))]
    assert detector.mean_average_precision(exact, TRUTH) == 1
    twice = [
        torch.cat((exact[0][:1], exact[0])),
        exact[1],
    ]  # the second finding of a box is wrong: 1, 1/2, 2/3
    assert detector.mean_average_precision(twice, TRUTH) == pytest.approx((0.5 + 0.5 * 2 / 3 + 1) / 2)
    assert detector.mean_average_precision([exact[0], found()], TRUTH) == 0.5
    assert detector.mean_average_precision([found(), found((0, 0.9, 0, 0, 10, 10))], TRUTH) == 0


def test_overlapping_detections_of_a_class_are_suppressed():
    rows = found(
        (3, 0.5, 0, 0, 10, 10), (3, 0.9, 1, 0, 11, 10), (4, 0.4, 1, 0, 11, 10), (3, 0.001, 50, 50, 60, 60)
    )
    assert detector._suppressed(rows).tolist() == rows[[1, 2]].tolist()


def test_the_detector_gives_boxes_for_every_cell():
    network = detector.Detector().eval()
    with torch.inference_mode():
        raw = network(torch.rand(1, 3, detector.SIDE, detector.SIDE))
    assert [tuple(tensor.shape[1:]) for tensor in raw] == [
        *((channels, 22, 22) for channels in (12, 3, 80)),
        *((channels, 11, 11) for channels in (12, 3, 80)),
    ]
    assert len(detector._decoded(*raw[:3], detector.ANCHORS[0])[0]) == 22 * 22 * 3


def test_verdicts_follow_the_numbers():
    accuracy = {"joint": 0.9, "modules": 0.8, "every operator": 0.85}
    rows = [
        {
            "way": way,
            "bits": 8,
            "seed": seed,
            "accuracy": accuracy.get(way, 0.9) + 0.001 * seed,
            "seconds": 1.0,
        }
        | {"operations": 40 if way == "every operator" else 20}
        for way in joint_quantization.WAYS
        for seed in range(3)
    ]
    boxes = [{"way": way, "bits": 8, "map": 0.3} for way in ("float32", *joint_quantization.DETECTED)]
    found = joint_quantization.findings(rows, 0.92, boxes, {"shift": 1e-6, "multiplier": 2e-6})
    verdicts = {finding.claim: finding.verdict for finding in found}
    assert verdicts["8 bits: joint above modules"] == "reproduced"
    assert verdicts["8 bits: modules above every operator"] == "not reproduced"
    assert verdicts["8 bits, shifts alone: half a point of accuracy at most"] == "not reproduced"
    assert verdicts["modules quantize less often"] == "reproduced"
    assert verdicts["detector, 8 bits: joint above modules (mAP@0.5)"] == "not reproduced"
