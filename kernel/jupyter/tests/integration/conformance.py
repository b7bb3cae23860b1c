"""Jupyter's own conformance suite (jupyter_kernel_test) against the echo kernel, with every sample it knows."""

import unittest

import jupyter_kernel_test


class Echo(jupyter_kernel_test.KernelTests):
    kernel_name = "echo"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = "%print hello, world"
    code_stderr = "%stderr test"
    completion_samples = [{"text": "%pri", "matches": {"%print", "%prints"}}]
    complete_code_samples = ["%noop", "%print x"]
    incomplete_code_samples = ["%print \\"]
    invalid_code_samples = ["%nosuch"]
    code_page_something = "%page hello"
    code_generate_error = "%error x"
    code_execute_result = [{"code": "%result 6", "result": "6"}]
    code_display_data = [{"code": "%display", "mime": "text/html"}]
    code_history_pattern = "%res*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "%print"
    code_clear_output = "%clear"


class Welcome(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "echo"
    support_iopub_welcome = True


if __name__ == "__main__":
    unittest.main()
