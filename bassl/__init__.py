"""BaSSL: boundary-aware self-supervised learning for video scene segmentation."""

__version__ = "0.1.0"
