"""tfsparse finds tiny CNNs for microcontrollers and judges each by what it costs on the chip.

Importing the package imports nothing heavy: TensorFlow is loaded only by the modules left of the `.tflite` border
(`build`, `train`, `convert`, `layers`, `search`), never by `compiler`, `hil` or the firmware.
"""
