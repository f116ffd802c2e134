from subtext.corpora.corpus import Corpus as Corpus
from subtext.corpora.files import read_manifest as read_manifest
from subtext.encoders.encoder import Encoder as Encoder
from subtext.encoders.tokens import Tokens as Tokens
from subtext.fusion.base import Fusion as Fusion
from subtext.prediction.predictor import Predictor as Predictor
from subtext.runs.front_door import compare as compare
from subtext.runs.front_door import evaluate as evaluate
from subtext.runs.front_door import extract as extract
from subtext.runs.front_door import load_run as load_run
from subtext.runs.front_door import train as train

__version__: str
