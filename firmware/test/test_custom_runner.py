"""`pio test`: starts the kernels' vectors on the board and reads what they say, in Unity's format, without Unity."""

import serial
from platformio.test.exception import UnitTestSuiteError
from platformio.test.runners.readers.serial import SerialTestOutputReader
from platformio.test.runners.unity import UnityTestRunner

SILENCE = 10  # seconds


class CustomTestRunner(UnityTestRunner):
    EXTRA_LIB_DEPS = None

    def configure_build_env(self, env):
        return env  # the build adds everything

    def stage_testing(self):
        if not self.options.without_testing:
            Reader(self).begin()


class Reader(SerialTestOutputReader):
    def begin(self):
        runner = self.test_runner
        port, speed = self.resolve_test_port(), runner.get_test_speed()
        with serial.serial_for_url(port, speed, timeout=SILENCE, write_timeout=SILENCE) as line:
            line.write(b"g")
            while not runner.test_suite.is_finished():
                data = line.read(line.in_waiting or 1)
                if not data:
                    raise UnitTestSuiteError(f"{port} has said nothing for {SILENCE} s")
                runner.on_testing_data_output(data)
