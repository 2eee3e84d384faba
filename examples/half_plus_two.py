"""``half_plus_two``: y = 0.5 x + 2, the smallest model that shows a server works."""

from examples.quiet_tensorflow import tf
from examples.requests import SampleRequest
from examples.saved_model import TrainedModel, signature


def train() -> TrainedModel:
    """Nothing is learnt here: the two numbers are given."""
    module = tf.Module()
    module.slope = tf.Variable(0.5)
    module.offset = tf.Variable(2.0)
    serve = signature(
        lambda x: {"y": module.slope * x + module.offset},
        x=tf.TensorSpec([None], tf.float32),
    )
    return TrainedModel(module, {"serving_default": serve}, "y = 0.5 x + 2, nothing to learn")


def sample_requests() -> list[SampleRequest]:
    """Three numbers at once."""
    return [
        SampleRequest(
            title="half of each number, plus two",
            model="half_plus_two",
            body={"instances": [1.0, 2.0, 5.0]},
            expected=[2.5, 3.0, 4.5],
        )
    ]
