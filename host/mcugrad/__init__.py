"""Train neural networks on microcontrollers: compile, plan, build, link, run."""
