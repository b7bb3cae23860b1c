"""Conformance of an installed Jupyter kernel: the suite of the package jupyter_kernel_test, then what the messaging
specification says and that suite does not ask.

    KC_KERNEL=code-deploy python kernel_conformance.py
    KC_SUITES=Package,Welcome,Wire python -m unittest -v kernel_conformance

KC_KERNEL   name of the kernelspec (default: code-deploy)
KC_SAMPLES  samples by kernel (default: samples.json beside this file): the attributes of
            jupyter_kernel_test.KernelTests, and code_noop, code_input (asks for one line and prints it),
            code_update_display, code_clear_later (clears when the next output comes), code_flood (2,000
            outputs), code_long (runs for a minute)
KC_TIMEOUT  seconds for a reply (default 30)

A line for each check; the exit status is 0 when every check passed and none was skipped.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest
from queue import Empty

import jupyter_kernel_test as package
import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

NAME = os.environ.get("KC_KERNEL", "code-deploy")
BESIDE = pathlib.Path(__file__).with_name("samples.json")
SAMPLES = json.loads(pathlib.Path(os.environ.get("KC_SAMPLES", BESIDE)).read_text())[NAME]
TIMEOUT = float(os.environ.get("KC_TIMEOUT", "30"))
QUIET = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
EXECUTE = dict(silent=False, store_history=True, user_expressions={}, allow_stdin=False, stop_on_error=True)

# The package binds its limit as a default argument.
package.TIMEOUT = TIMEOUT
package.KernelTests.execute_helper.__defaults__ = (TIMEOUT, False, True, True)
package.KernelTests.history_helper.__defaults__ = (TIMEOUT,)


class Package(package.KernelTests):
    kernel_name = NAME


for attribute, value in SAMPLES.items():
    setattr(Package, attribute, value)


class Welcome(package.IopubWelcomeTests):
    kernel_name = NAME
    support_iopub_welcome = True


def started(**options) -> tuple[KernelManager, BlockingKernelClient]:
    manager = KernelManager(kernel_name=NAME, **options)
    manager.start_kernel(**QUIET)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT)
    return manager, client


def ended(process, within: float) -> bool:
    """Whether a child process ends within that many seconds."""
    try:
        process.wait(within)
        return True
    except subprocess.TimeoutExpired:
        return False


class Wire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.manager, cls.client = started()

    @classmethod
    def tearDownClass(cls):
        cls.client.stop_channels()
        cls.manager.shutdown_kernel(now=True)

    def setUp(self):
        # A check which breaks the kernel must not fail the next one.
        try:
            self.assertTrue(self.manager.is_alive())
            self.flush()
            self.info()
        except AssertionError:
            self.again()
        self.flush()

    def again(self):
        self.tearDownClass()
        self.setUpClass()

    # -- what the checks are made of -------------------------------------------------------------

    def flush(self, quiet=0.1):
        for get in (self.client.get_shell_msg, self.client.get_control_msg, self.client.get_iopub_msg):
            try:
                while True:
                    get(timeout=quiet)
            except Empty:
                pass

    def send(self, channel, kind, content, **header):
        message = self.client.session.msg(kind, content)
        message["header"].update(header)
        channel.send(message)
        return message["header"]["msg_id"]

    def shell(self, kind, content, **header):
        return self.send(self.client.shell_channel, kind, content, **header)

    def control(self, kind, content=None):
        request = self.send(self.client.control_channel, kind, content or {})
        return self.reply(request, self.client.get_control_msg, 5)["content"]

    def reply(self, request, get=None, timeout=TIMEOUT):
        get, end = get or self.client.get_shell_msg, time.monotonic() + timeout
        while True:
            try:
                message = get(timeout=max(0.05, end - time.monotonic()))
            except Empty:
                self.fail("no reply")
            if message["parent_header"].get("msg_id") == request:
                return message

    def published(self, request, last, timeout=TIMEOUT):
        """What is published for a request up to the message that `last` accepts."""
        found, end = [], time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") == request:
                found.append(message)
                if last(message):
                    return found
        self.fail(f"not published in time; there were {[message['msg_type'] for message in found]}")

    def until_idle(self, request, timeout=TIMEOUT):
        return self.published(request, lambda m: m["content"].get("execution_state") == "idle", timeout)

    def execute(self, code, **changed):
        return self.shell("execute_request", dict(EXECUTE, code=code, **changed))

    def cell(self, code, **changed):
        request = self.execute(code, **changed)
        reply = self.reply(request)["content"]
        return reply, self.until_idle(request)

    def noop(self, **changed):
        return self.cell(SAMPLES["code_noop"], **changed)

    def begin_long(self, **header):
        request = self.shell("execute_request", dict(EXECUTE, code=SAMPLES["code_long"]), **header)
        self.published(request, lambda m: m["msg_type"] == "execute_input")
        return request

    def end_long(self, request):
        self.control("interrupt_request")
        self.assertEqual(self.reply(request)["content"]["status"], "error")

    def ask(self, kind, content):
        request = self.shell(kind, content)
        reply = self.reply(request)
        package.validate_message(reply, kind.replace("_request", "_reply"), request)
        return reply["content"]

    def info(self):
        return self.reply(self.shell("kernel_info_request", {}))["content"]

    def usable(self):
        self.flush()
        self.assertTrue(self.manager.is_alive(), "the kernel died")
        self.info()

    @staticmethod
    def kinds(messages):
        return [message["msg_type"] for message in messages]

    # -- info and status -------------------------------------------------------------------------

    def test_info_has_every_field(self):
        info = self.info()
        self.assertEqual((info["status"], info["protocol_version"]), ("ok", "5.5"))
        for field in ("implementation", "implementation_version", "banner", "help_links", "debugger"):
            self.assertIn(field, info)
        for field in ("name", "version", "mimetype", "file_extension"):
            self.assertIn(field, info["language_info"])
        self.assertIn("kernel subshells", info["supported_features"])

    def test_a_request_is_between_busy_and_idle(self):
        states = self.until_idle(self.shell("kernel_info_request", {}))
        self.assertEqual([m["content"].get("execution_state") for m in states], ["busy", "idle"])

    def test_control_answers_while_a_cell_runs(self):
        request = self.begin_long()
        self.assertEqual(self.control("kernel_info_request")["status"], "ok")
        self.end_long(request)

    def test_heartbeat_echoes_bytes(self):
        socket = self.client.connect_hb()
        socket.send(b"any bytes \x00\xff")
        self.assertTrue(socket.poll(3000), "no echo")
        self.assertEqual(socket.recv(), b"any bytes \x00\xff")
        socket.close(0)

    # -- execute ---------------------------------------------------------------------------------

    def test_counts_go_up_and_the_input_is_published_first(self):
        first, published = self.noop()
        self.assertEqual(self.kinds(published), ["status", "execute_input", "status"])
        self.assertEqual(published[1]["content"]["execution_count"], first["execution_count"])
        self.assertEqual(self.noop()[0]["execution_count"], first["execution_count"] + 1)

    def test_what_is_not_stored_is_not_counted(self):
        counts = [self.noop(store_history=False)[0]["execution_count"] for _ in range(2)]
        self.assertEqual(*counts)

    def test_a_silent_cell_publishes_no_input(self):
        self.assertNotIn("execute_input", self.kinds(self.noop(silent=True)[1]))

    def test_an_empty_cell_is_fine(self):
        self.assertEqual(self.cell("")[0]["status"], "ok")

    def test_every_user_expression_has_an_answer(self):
        expressions = self.noop(user_expressions={"x": "nothing", "y": "none"})[0]["user_expressions"]
        self.assertEqual(sorted(expressions), ["x", "y"])
        self.assertTrue(all(value["status"] in ("ok", "error") for value in expressions.values()))

    def test_an_error_is_published_and_replied_alike(self):
        reply, published = self.cell(SAMPLES["code_generate_error"])
        error = next(m["content"] for m in published if m["msg_type"] == "error")
        for field in ("ename", "evalue", "traceback"):
            self.assertEqual(reply[field], error[field])
        self.assertIsInstance(error["traceback"], list)

    def test_only_the_code_of_a_cell_must_be_said(self):
        request = self.shell("execute_request", {"code": SAMPLES["code_noop"]})
        reply = self.reply(request)["content"]
        self.assertEqual(reply["status"], "ok")
        published = self.until_idle(request)
        self.assertEqual(self.kinds(published), ["status", "execute_input", "status"])
        self.assertEqual(published[1]["content"]["execution_count"], reply["execution_count"])

    def test_a_silent_cell_that_fails_aborts_nothing(self):
        failing = self.execute(SAMPLES["code_generate_error"], silent=True)
        behind = self.execute(SAMPLES["code_noop"])
        self.assertEqual(self.reply(failing)["content"]["status"], "error")
        self.assertEqual(self.reply(behind)["content"]["status"], "ok")

    def behind_an_error(self, stop):
        failing = self.execute(SAMPLES["code_generate_error"], stop_on_error=stop)
        behind = self.execute(SAMPLES["code_noop"], stop_on_error=stop)
        self.assertEqual(self.reply(failing)["content"]["status"], "error")
        return self.reply(behind)["content"]["status"]

    def test_an_error_aborts_what_is_queued(self):
        self.assertEqual(self.behind_an_error(True), "aborted")

    def test_an_error_aborts_nothing_if_asked(self):
        self.assertEqual(self.behind_an_error(False), "ok")

    def test_nothing_comes_after_idle(self):
        request = self.execute(SAMPLES["code_flood"])
        self.until_idle(request, 60)
        # What is published for the next request is behind anything that was late.
        after = self.execute(SAMPLES["code_noop"])
        late = []

        def last(message):
            return message["content"].get("execution_state") == "idle"

        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == request:
                late.append(message["msg_type"])
            elif message["parent_header"].get("msg_id") == after and last(message):
                break
        self.assertEqual(late, [])

    def test_a_display_is_updated(self):
        published = self.cell(SAMPLES["code_update_display"])[1]
        shown = [m for m in published if m["msg_type"] in ("display_data", "update_display_data")]
        self.assertEqual(self.kinds(shown), ["display_data", "update_display_data"])
        self.assertEqual({m["content"]["transient"]["display_id"] for m in shown}, {"kc"})

    def test_outputs_can_be_cleared_when_the_next_one_comes(self):
        published = self.cell(SAMPLES["code_clear_later"])[1]
        cleared = [m["content"] for m in published if m["msg_type"] == "clear_output"]
        self.assertEqual(cleared, [{"wait": True}])

    # -- stdin -----------------------------------------------------------------------------------

    def test_a_cell_asks_for_a_line(self):
        request = self.execute(SAMPLES["code_input"], allow_stdin=True)
        question = self.client.get_stdin_msg(timeout=TIMEOUT)
        self.assertEqual(question["msg_type"], "input_request")
        self.client.input("Ada")
        self.assertEqual(self.reply(request)["content"]["status"], "ok")
        text = "".join(m["content"]["text"] for m in self.until_idle(request) if m["msg_type"] == "stream")
        self.assertIn("got Ada", text)

    def test_where_nobody_can_answer_nobody_is_asked(self):
        request = self.execute(SAMPLES["code_input"], allow_stdin=False)
        self.reply(request)
        with self.assertRaises(Empty):
            self.client.get_stdin_msg(timeout=0.2)

    # -- what must be survived -------------------------------------------------------------------

    def test_a_bad_signature_is_ignored(self):
        frames = self.client.session.serialize(self.client.session.msg("kernel_info_request", {}))
        frames[1] = b"0" * 64
        self.client.shell_channel.socket.send_multipart(frames)
        with self.assertRaises(Empty):
            self.client.get_shell_msg(timeout=0.5)
        self.usable()

    def test_unknown_requests_are_survived(self):
        self.shell("unheard_of_request", {})
        self.send(self.client.control_channel, "unheard_of_request", {})
        self.usable()

    def test_malformed_content_is_survived(self):
        session = self.client.session
        refused = self.reply(self.shell("execute_request", {}))["content"]
        self.assertEqual(refused["status"], "error")
        self.assertIsInstance(refused["execution_count"], int)
        frames = session.serialize(session.msg("execute_request", {}))
        frames[5] = b"{not json"
        frames[1] = session.sign(frames[2:6])
        self.client.shell_channel.socket.send_multipart(frames)
        self.usable()

    def test_frames_that_are_no_message_are_survived(self):
        for frames in ([b""], [b"<IDS|MSG>"], [b"x"] * 3):
            self.client.shell_channel.socket.send_multipart(frames)
        self.usable()

    # -- other requests --------------------------------------------------------------------------

    def test_comms_are_told(self):
        self.assertEqual(self.ask("comm_info_request", {})["comms"], {})

    def test_a_comm_of_an_unknown_target_is_closed(self):
        request = self.shell("comm_open", dict(comm_id="kc-1", target_name="kc.none", data={}))
        self.assertIn("comm_close", self.kinds(self.until_idle(request, 5)))

    def test_history_is_told(self):
        wanted = dict(output=False, raw=True, hist_access_type="tail", n=3)
        self.assertIn("history", self.ask("history_request", wanted))

    def test_history_outlives_the_kernel(self):
        code = f"{SAMPLES['code_noop']} {time.time_ns()}"
        self.assertEqual(self.cell(code)[0]["status"], "ok")
        self.control("shutdown_request", {"restart": False})
        self.assertTrue(ended(self.manager.provisioner.process, 5))
        self.again()
        wanted = dict(output=False, raw=True, hist_access_type="search", pattern=f"*{code[-19:]}")
        found = self.ask("history_request", wanted)["history"]
        self.assertEqual([entry[2] for entry in found], [code])

    def test_whether_a_text_is_complete_is_told(self):
        said = self.ask("is_complete_request", {"code": SAMPLES["code_noop"]})
        self.assertEqual(said["status"], "complete")
        said = self.ask("is_complete_request", {"code": SAMPLES["incomplete_code_samples"][0]})
        self.assertEqual((said["status"], said["indent"].strip()), ("incomplete", ""))

    def test_inspection_finds_nothing_where_there_is_nothing(self):
        self.assertFalse(self.ask("inspect_request", dict(code="zzz", cursor_pos=2, detail_level=0))["found"])

    def test_inspection_gives_text_markdown_and_html(self):
        code = SAMPLES["code_inspect_sample"]
        found = self.ask("inspect_request", dict(code=code, cursor_pos=len(code), detail_level=0))
        self.assertEqual(sorted(found["data"]), ["text/html", "text/markdown", "text/plain"])

    def test_completion_stays_inside_the_text_and_has_types(self):
        found = self.ask("complete_request", dict(code="zzz", cursor_pos=3))
        self.assertTrue(0 <= found["cursor_start"] <= found["cursor_end"] <= 3, found)
        text = SAMPLES["completion_samples"][0]["text"]
        found = self.ask("complete_request", dict(code=text, cursor_pos=len(text)))
        kinds = found["metadata"]["_jupyter_types_experimental"]
        self.assertEqual([kind["text"] for kind in kinds], found["matches"])

    def test_usage_and_debugging_are_answered(self):
        usage = self.control("usage_request")
        self.assertEqual(usage["pid"], self.manager.provisioner.process.pid)
        for field in ("kernel_memory", "cpu_count"):
            self.assertGreater(usage[field], 0)
        for field in ("kernel_cpu", "host_cpu_percent"):
            self.assertGreaterEqual(usage[field], 0)
        self.assertGreater(usage["host_virtual_memory"]["total"], 0)
        debug = self.control("debug_request", dict(type="request", command="debugInfo", seq=7))
        self.assertEqual((debug["success"], debug["request_seq"]), (False, 7))

    # -- interrupt and subshells -----------------------------------------------------------------

    def test_an_interrupt_is_a_message(self):
        self.assertEqual(self.manager.kernel_spec.interrupt_mode, "message")
        self.assertEqual(self.control("interrupt_request")["status"], "ok")
        self.usable()

    def test_an_interrupt_ends_a_cell_and_aborts_what_is_queued(self):
        request = self.begin_long()
        behind = self.execute(SAMPLES["code_noop"])
        self.end_long(request)
        self.assertEqual(self.reply(behind)["content"]["status"], "aborted")
        self.usable()

    def test_a_subshell_answers_while_the_main_shell_is_busy(self):
        subshell = self.control("create_subshell_request")["subshell_id"]
        self.assertIn(subshell, self.control("list_subshell_request")["subshell_id"])
        request = self.begin_long()
        info = self.shell("kernel_info_request", {}, subshell_id=subshell)
        self.assertEqual(self.reply(info, timeout=5)["content"]["status"], "ok")
        cell = self.shell("execute_request", dict(EXECUTE, code=SAMPLES["code_noop"]), subshell_id=subshell)
        self.assertEqual(self.reply(cell, timeout=5)["content"]["status"], "ok")
        self.end_long(request)
        self.assertEqual(self.control("delete_subshell_request", {"subshell_id": subshell})["status"], "ok")
        self.assertNotIn(subshell, self.control("list_subshell_request")["subshell_id"])
        self.assertEqual(self.control("delete_subshell_request", {"subshell_id": subshell})["status"], "error")

    def test_a_subshell_that_does_not_exist_is_told(self):
        request = self.shell("execute_request", dict(EXECUTE, code=SAMPLES["code_noop"]), subshell_id="none")
        reply = self.reply(request)["content"]
        self.assertEqual(reply["status"], "error")
        self.assertIsInstance(reply["execution_count"], int)
        self.assertEqual(self.kinds(self.until_idle(request)), ["status", "error", "status"])

    # -- clients ---------------------------------------------------------------------------------

    def test_two_clients_see_the_same_outputs_and_their_own_replies(self):
        other = BlockingKernelClient(connection_file=self.manager.connection_file)
        other.load_connection_file()
        other.start_channels()
        try:
            other.wait_for_ready(timeout=TIMEOUT)
            self.flush()
            request = other.execute(SAMPLES["code_noop"])
            self.until_idle(request)
            with self.assertRaises(Empty):
                self.client.get_shell_msg(timeout=0.3)
        finally:
            other.stop_channels()

    def test_a_page_that_was_reloaded_comes_back_with_its_identity(self):
        socket = self.client.connect_shell(identity=self.client.session.bsession)
        request = self.client.session.msg("kernel_info_request", {})
        try:
            socket.send_multipart(self.client.session.serialize(request))
            self.assertTrue(socket.poll(3000), "no reply to the new socket")
        finally:
            socket.close(0)
            self.again()

    # -- the process -----------------------------------------------------------------------------

    def test_ipc_serves_as_well_as_tcp(self):
        manager, client = started(transport="ipc")
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    def test_a_shutdown_is_answered_and_ends_every_process(self):
        for restart in (False, True):
            manager, client = started()
            process = manager.provisioner.process
            client.execute_interactive(SAMPLES["code_hello_world"], output_hook=lambda _: None, timeout=TIMEOUT)
            children = psutil.Process(process.pid).children(recursive=True)
            try:
                client.control_channel.send(client.session.msg("shutdown_request", {"restart": restart}))
                reply = client.get_control_msg(timeout=5)
                self.assertEqual((reply["msg_type"], reply["content"]["restart"]), ("shutdown_reply", restart))
                while client.get_iopub_msg(timeout=5)["msg_type"] != "shutdown_reply":
                    pass
                self.assertTrue(ended(process, 5), "the process did not end in 5 s")
                self.assertEqual(psutil.wait_procs(children, timeout=5)[1], [], "children were left behind")
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)

    def test_sigterm_ends_it(self):
        manager, client = started()
        try:
            os.kill(manager.provisioner.process.pid, signal.SIGTERM)
            self.assertTrue(ended(manager.provisioner.process, 5), "alive 5 s after SIGTERM")
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def test_it_ends_with_a_server_that_was_killed(self):
        server = (
            "import time; from kernel_conformance import started; manager, client = started();"
            "print(manager.provisioner.process.pid, flush=True); time.sleep(99)"
        )
        server = subprocess.Popen(
            [sys.executable, "-c", server], stdout=subprocess.PIPE, text=True, cwd=BESIDE.parent
        )
        kernel = psutil.Process(int(server.stdout.readline()))
        tree = [kernel, *kernel.children(recursive=True)]
        server.kill()
        server.wait()
        left = [p for p in psutil.wait_procs(tree, timeout=10)[1] if p.status() != psutil.STATUS_ZOMBIE]
        for process in left:
            process.kill()
        self.assertEqual(left, [], "alive 10 s after its server")


class Words(unittest.TextTestResult):
    """A line for each check; a check that was left out is told like one that failed."""

    def getDescription(self, test):
        return str(test.id()).removeprefix("__main__.")


def main() -> int:
    suites = os.environ.get("KC_SUITES", "Package,Welcome,Wire").split(",")
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    checks = unittest.TestSuite(load(globals()[suite]) for suite in suites)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Words).run(checks)
    return 0 if result.wasSuccessful() and not result.skipped else 1


if __name__ == "__main__":
    sys.exit(main())
