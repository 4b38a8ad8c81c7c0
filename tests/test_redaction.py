"""Secrets: what is one, where it is found, and that nothing else is touched."""

from __future__ import annotations

import builtins
import json
import pickle
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from base64 import b64encode, urlsafe_b64encode
from collections import namedtuple
from dataclasses import dataclass, field
from functools import partial
from html import escape
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from processes import Process, ProcessExecutionReport, Task, TaskDependency, TaskReportEntry, TaskStatus
from processes.comms import ReportChannel, ReportContent, WebhookChannel, WebhookConfig, render_report_html
from processes.comms.redaction import Redactor, TransparentRedactor
from processes.comms.secret_names import SecretNames
from processes.comms.secret_texts import REDACTED
from processes.error_data import ErrorData
from processes.parameters import named_arguments, parameter_names

TOKEN = "sk-live-4f9a'8c\"2e é"


def report_of(*, result=None, args=(), kwargs=None, **error) -> ProcessExecutionReport:
    kwargs = kwargs or {}
    data = ErrorData("job", "job", args, kwargs, **error) if error else None
    status = TaskStatus.ERRORED if error else TaskStatus.SUCCESS
    return ProcessExecutionReport(
        {"job": TaskReportEntry("job", "job", args, kwargs, status, 0.1, 1, result, data)}, "nightly"
    )


def sent(report: ProcessExecutionReport, **content) -> str:
    """What leaves the machine, by both ways."""
    wanted = ReportContent(**content)
    payload = WebhookChannel(WebhookConfig("https://hooks.example.org/x"), wanted).payload(report)
    return json.dumps(payload, ensure_ascii=False) + render_report_html(report, None, wanted)


SECRET_NAMES = [
    "password",
    "PASSWORD",
    "db_password",
    "dbpassword",
    "smtp_pass",
    "Authorization",
    "X-Api-Key",
    "apiKey",
    "APIKEY",
    "AWS_SECRET_ACCESS_KEY",
    "privateKey",
    "access_token",
    "authToken",
    "Set-Cookie",
    "client_secret",
    "self.token",
    "credentials",
    "session_id",
    "ConnectionString",
    "input_password",
    "passcode",
    "PHPSESSID",
    "jsessionid",
]


def test_texts_with_backslashes_that_mean_nothing_to_python_are_read_without_a_warning():
    text = r"""{'a': ['x\d', '\\\d', '\777'], "token": r"sk\/live-4f9a"}"""
    report = report_of(exception=text, traceback_str=text, traced_vars={"text": text}, result=text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        payload = sent(report)
    assert not caught
    assert REDACTED in payload
    assert "live-4f9a" not in payload


def test_a_name_like_a_secrets_is_known():
    for name in SECRET_NAMES:
        assert SecretNames(()).covers(name), name


ORDINARY_NAMES = [
    "",
    "key",
    "keys",
    "primary_key",
    "author",
    "authority",
    "max_tokens",
    "token_count",
    "tokenizer",
    "password_field",
    "secretary",
    "monkey",
    "passenger",
    "path",
    "auth_method",
    "AUTH_HOST",
    "cookie_domain",
    "jwt_algorithm",
    "token_scopes",
    "bypass_rate",
    "OLDPWD",
    "XDG_SESSION_ID",
]


def test_an_ordinary_name_is_no_secrets():
    for name in ORDINARY_NAMES:
        assert not SecretNames(()).covers(name), name


@pytest.mark.parametrize("name", ["iban", "payer_iban", "payerIban", "IBAN"])
def test_names_of_the_users_own_are_secrets_too(name):
    assert SecretNames(("iban",)).covers(name)
    assert not SecretNames(("customer",)).covers(name)
    assert SecretNames(("payer_iban",)).covers("payeriban")
    assert not SecretNames(("", "-")).covers("-")


@dataclass
class Settings:
    host: str
    password: str


@dataclass(slots=True)
class Slim:
    api_key: str
    unset: str = field(init=False, repr=False)


Login = namedtuple("Login", ["user", "password"])
frozendict: type[dict] = getattr(builtins, "frozendict", dict)  # from Python 3.15 on


@pytest.mark.parametrize(
    "kwargs",
    [
        {"token": TOKEN},
        {"token": TOKEN.encode()},
        {"headers": {"Authorization": TOKEN}},
        {"headers": {b"Authorization": TOKEN.encode()}},
        {"headers": [("Authorization", TOKEN)]},
        {"config": {"a": [{"credentials": {"user": "somebody", "other": TOKEN}}]}},
        {"settings": Settings("db", TOKEN)},
        {"settings": [Slim(TOKEN)]},
        {"settings": ({"password": TOKEN}, 1)},
        {"login": Login("bob", TOKEN)},
        {"url": f"https://bob:{'tok3n-in-url'}@host/path"},
    ],
    ids=str,
)
def test_a_secret_among_the_arguments_is_gone_wherever_it_stands_again(kwargs):
    token = "tok3n-in-url" if "url" in kwargs else TOKEN
    text = f"401 for {token} and {token!r} and x{token}x"
    report = report_of(
        kwargs=kwargs,
        exception=text,
        traceback_str=f"Traceback (most recent call last):\nIOError: {text}\n",
        traced_vars={"message": repr(text), "t": repr(token)},
        traced_vars_location="file.py:1 in f",
    )
    whole = sent(report)
    assert "sk-live" not in whole
    assert "4f9a" not in whole
    assert token not in whole
    assert REDACTED in whole
    assert "401 for" in whole


class Opaque:
    def __init__(self, value: str) -> None:
        self.value = value


def test_a_secret_in_a_frozen_dict_is_gone_wherever_it_stands_again():
    report = report_of(args=([frozendict(token=Opaque("t0k3n-v4lue"))],), exception="401 for t0k3n-v4lue")
    assert "t0k3n" not in sent(report)
    hidden = Redactor().value(frozendict(a=[frozendict(password="p4ssword-v4lue", b=1)]))
    assert hidden == frozendict(a=[frozendict(password=REDACTED, b=1)])


@pytest.mark.skipif(sys.version_info < (3, 14), reason="there are no t-strings before Python 3.14")
def test_a_secret_in_a_t_string_is_gone_wherever_it_stands_again():
    from string.templatelib import Interpolation, Template

    template = Template("login ", Interpolation("t0k3n-v4lue", "user.token"))
    one = Interpolation(Opaque("p4ssword-v4lue"), "password")
    report = report_of(args=(template,), kwargs={"one": one}, exception="not t0k3n-v4lue, p4ssword-v4lue")
    text = sent(report)
    assert "t0k3n" not in text
    assert "p4ssword" not in text


@pytest.mark.parametrize("keys", [("name", "value"), ("Name", "Value"), ("key", "value"), ("Key", "Value")])
def test_a_name_and_a_value_may_stand_in_a_mapping_side_by_side(keys):
    listed = [
        dict(zip(keys, one, strict=True)) for one in (("USER", "ann-of-ten"), ("DB_PASSWORD", "abcdef1"))
    ]
    for report in (
        report_of(result=listed),
        report_of(args=(listed,), exception="ann-of-ten: abcdef1"),
        report_of(exception="ann-of-ten: abcdef1", traced_vars={"found": repr(listed)}),
    ):
        whole = sent(report)
        assert "ann-of-ten" in whole
        assert "abcdef" not in whole


def test_a_secret_in_a_traced_variable_is_gone_from_text_and_traceback():
    report = report_of(
        exception="refused: abcdef123456",
        traceback_str='  File "x.py", line 1, in f\n    call("abcdef123456")\nE: refused: abcdef123456\n',
        traced_vars={"api_key": "'abcdef123456'", "n": "1", "request": "<Request 'abcdef123456'>"},
    )
    assert "abcdef" not in sent(report)
    report = report_of(exception=f"refused: {TOKEN}", traced_vars={"headers": repr({"Authorization": TOKEN})})
    assert "sk-live" not in sent(report)


def test_a_secret_that_a_traceback_names_is_gone_from_all_else():
    source = '  File "x.py", line 1, in f\n    login(password="abcdef123456")\nE: refused\n'
    for traceback in (source, "E: refused: password=abcdef123456\n"):
        report = report_of(exception="refused: abcdef123456", traceback_str=traceback)
        assert "abcdef" not in sent(report)


def test_a_secret_is_gone_in_whatever_spelling():
    secret = "k\u00e4/y+w\\rd?'~\"\u00ff\u00fe"
    redactor, in_json = Redactor(), json.dumps(secret, ensure_ascii=False)[1:-1]
    redactor.learn([("token", secret)])
    for spelled in (
        *(
            secret,
            repr(secret)[1:-1],
            ascii(secret)[1:-1],
            repr(secret.encode())[2:-1],
            json.dumps(secret)[1:-1],
        ),
        *(in_json, repr(in_json)[1:-1], json.dumps(in_json)[1:-1], quote(secret), quote(secret, safe="")),
        escape(secret),
    ):
        assert redactor.text(f"x {spelled} x") == "x <redacted> x"
    redactor.learn([("token", other := "kay'w\\rd-1")])
    assert redactor.text(repr(repr(other))[2:-2]) == REDACTED
    for user in ("b", "bo", "bob"):
        for encode in (b64encode, urlsafe_b64encode):
            text = redactor.text(encode(f"{user}:{secret}?".encode()).decode())
            assert len(text.replace(REDACTED, "")) <= 10  # of the name, the colon and the end


@pytest.mark.parametrize("special", [*"&'\"(<{", "(ab)", "'ab'"])
def test_a_known_secret_is_hidden_whole_where_its_name_marks_a_part_of_it(special):
    redactor = Redactor()
    redactor.learn([("password", secret := f"Xy7{special}Qw9Er8Ty")])
    for text in (f"password={secret}", f"password='{secret}'", json.dumps(json.dumps({"password": secret}))):
        assert "Qw9" not in redactor.text(text)
        assert "Qw9" not in redactor.traceback(text)


def test_a_secret_may_be_of_a_class_of_its_own():
    class Text(str):  # noqa: SLOT000
        def __str__(self):
            raise RuntimeError

    class Data(bytes):
        def decode(self, *_):
            raise RuntimeError

    config = {"token": Text("abc-123456"), "password": Data(b"xyz-987654")}
    text = sent(report_of(args=(config,), exception="not abc-123456, xyz-987654"))
    assert "abc-" not in text
    assert "xyz-" not in text


@pytest.mark.parametrize("runner", ["sequential", "process"])
def test_variables_of_all_frames_that_led_to_a_failure_are_known(runner):
    def connect(url):
        raise ConnectionError(f"no answer of {url}")

    def log_in(token):
        config = {"password": "abc-123456"}
        connect(f"{config['password']}:{token}")

    def load():
        api_token = "xyz-987654"
        try_all(lambda: log_in(api_token))

    def try_all(ways):
        try:
            ways()
        except ConnectionError as error:
            raise ExceptionGroup(f"nothing worked: {error}", [error]) from None

    report = Process([Task("load", load)]).run(runner=runner)
    assert "no answer of" in (text := sent(report))
    assert "abc-" not in text
    assert "xyz-" not in text


def test_what_led_to_a_failure_is_looked_at_before_other_tasks(monkeypatch):
    def refuse(value):
        raise PermissionError(f"not {value}")

    def load():
        password = "abc-123456"
        refuse(password)

    monkeypatch.setattr("processes.comms.redaction.MAX_VALUES", 10)
    others = [Task(f"other-{number}", abs, args=(number,)) for number in range(20)]
    assert "abc-" not in sent(Process([*others, Task("load", load)]).run(runner="sequential"))


def test_attributes_of_an_exception_are_known():
    class Refused(Exception):
        def __init__(self, user, password):
            super().__init__(f"{user}: {password}")
            self.password = password

    def load():
        raise Refused("ann", "abc-123456")

    text = sent(Process([Task("load", load)]).run())
    assert "ann: " in text
    assert "abc-" not in text


def test_the_parts_of_a_secret_between_white_space_are_secrets():
    report = report_of(
        kwargs={"headers": {"Authorization": "Bearer zyxwvu987654"}}, exception="no such bearer: zyxwvu987654"
    )
    whole = sent(report)
    assert "zyxwvu" not in whole
    assert "no such bearer: " in whole


def test_an_argument_is_known_by_its_parameters_name():
    def login(user, password, *tokens, **others):
        """Never called."""

    names = parameter_names(login)
    assert names == ("user", "password", "*tokens")
    assert list(named_arguments(names, ("bob", "x", 1, 2))) == [
        ("user", "bob"),
        ("password", "x"),
        ("tokens", 1),
        ("tokens", 2),
    ]
    assert list(named_arguments(("user",), ("bob", "one too many"))) == [
        ("user", "bob"),
        ("", "one too many"),
    ]
    report = report_of(
        args=("bob", "letmein-now", "tok-1234567"), exception="letmein-now / tok-1234567 / bob"
    )
    report.parameters = {"job": names}
    whole = sent(report)
    assert "letmein" not in whole
    assert "tok-12" not in whole
    assert "bob" in whole


def test_a_result_is_known_by_the_parameter_of_another_task_that_takes_it():
    def fetch(page, token):
        refuse(token)

    def fetch_all(*tokens):
        return len(tokens)

    def passing(**how):
        return [TaskDependency("log-in", **how)]

    tasks = [
        Task("log-in", lambda: "tok-1234567"),
        Task("by-position", fetch, args=(1,), dependencies=passing(use_result_as_additional_args=True)),
        Task("alone", fetch_all, dependencies=passing(use_result_as_additional_args=True)),
        Task(
            "by-keyword",
            lambda **options: len(options),
            dependencies=passing(use_result_as_additional_kwargs=True, additional_kwarg_name="api_key"),
        ),
        Task("by-no-secrets-name", str.upper, dependencies=passing(use_result_as_additional_args=True)),
        Task("only-behind", int, dependencies=passing()),
    ]

    def hidden(*names):
        report = Process([task for task in tasks if task.name in ("log-in", *names)]).run(runner="sequential")
        assert len(report.entries) == 1 + len(names)
        assert sent(report).count("tok-1234567") == sent(pickle.loads(pickle.dumps(report))).count(
            "tok-1234567"
        )
        return "tok-1234567" not in sent(report)

    assert hidden("by-position")
    assert hidden("alone")
    assert hidden("by-keyword")
    assert not hidden("by-no-secrets-name", "only-behind")
    assert not hidden()


def test_a_result_of_a_dependency_is_shown_by_the_name_of_the_parameter_that_takes_it():
    def check(rows):
        raise ValueError("no rows")

    tasks = [
        Task("load", list),
        Task("check", check, dependencies=[TaskDependency("load", use_result_as_additional_args=True)]),
    ]
    report = Process(tasks).run(runner="sequential")
    for one in (report, pickle.loads(pickle.dumps(report))):
        page = render_report_html(one)
        assert ">rows</td>" in page
        assert "args[0]" not in page


def test_the_parameters_of_partials_methods_and_builtins_are_found_where_there_are_any():
    from functools import wraps

    def one(url, token, *keys, force=False, **others):
        """Never called."""

    @wraps(one)
    def wrapped(*args):
        return one(*args)

    class Client:
        def login(self, password):
            """Never called."""

    assert parameter_names(partial(one, "u")) == ("token", "*keys")
    assert parameter_names(wrapped) == ("url", "token", "*keys")
    assert parameter_names(Client().login) == ("password",)
    assert parameter_names(dict) == ()
    assert parameter_names(3) == ()


KEY = "s3cr3t-value-77"


class Client:
    def __init__(self, token):
        self.token = token

    def fetch(self):
        raise ConnectionError(f"GET https://api.example.org/bot{self.token}/x failed")

    __call__ = fetch

    def log_in(self, token=KEY):
        login(token)

    @property
    def fetching(self):
        return lambda: self.fetch()


class Login(partial):
    """A partial of one's own, which says nothing true of itself."""

    args = property(lambda self: 1 / 0)


def refuse(text):
    raise PermissionError(text)  # where the traced variables are: none has a secret's name


def login(password, user="ann", *, token=""):
    refuse(f"{user} {password} {token}")


def with_default(token=KEY):
    login("", token)


def closed_over_an_empty_cell(token):
    def call():
        login(token)
        return never_set

    if not token:
        never_set = 0
    return call


def login_with(settings):
    login(settings["password"])


def login_with_lock(lock, password):
    login(password)


API_TOKEN = KEY
SETTINGS = SimpleNamespace(secret_key=KEY, host="db.example.org")
AUTH = SimpleNamespace(host="auth.example.org")
HOST = "ldap.example.org"


def ask():
    refuse(API_TOKEN)


def ask_one_of_the_hosts():
    ways_to_log_in = {"password": lambda: HOST}
    refuse([SETTINGS.host, AUTH.host, *[way() for way in ways_to_log_in.values()]])


BOUND = {
    "method": Client(KEY).fetch,
    "default of a method": Client("").log_in,
    "object": Client(KEY),
    "closure": Client(KEY).fetching,
    "closure with an empty cell": closed_over_an_empty_cell(KEY),
    "default": with_default,
    "keyword default": lambda *, token=KEY: login(token),
    "partial, by position": partial(login, KEY),
    "partial, by keyword": partial(login, "", token=KEY),
    "partial of a partial": partial(partial(login, token="not-t0-be-5een"), KEY),
    "partial of a method": partial(Client(KEY).fetch),
    "partial of one's own": Login(login, KEY),
    "partial of a dict": partial(login_with, {"password": KEY}),
    "beside what cannot be pickled": partial(login_with_lock, threading.Lock(), KEY),
    "global": ask,
    "global of a function in it": lambda: (lambda: refuse(API_TOKEN))(),
    "global of a function beside it": lambda: ask(),
    "global object": lambda: refuse(SETTINGS.secret_key),
    "method of a builtin": partial(exec, "refuse(password)", {"password": KEY, "refuse": refuse}).__call__,
}


@pytest.mark.parametrize("function", BOUND.values(), ids=BOUND)
def test_what_a_function_is_bound_to_is_known_by_its_name(function):
    report = Process([Task("job", function)]).run()
    assert KEY in report.errored["job"].error.exception
    whole = sent(report)
    assert KEY not in whole
    assert "not-t0-be-5een" not in whole
    assert REDACTED in whole


def test_of_a_global_object_and_of_functions_only_what_has_a_secrets_name_is_hidden():
    tasks = [Task("ask", ask_one_of_the_hosts), Task("ways", len, args=({"password": ask_one_of_the_hosts},))]
    whole = sent(Process(tasks).run())
    for host in ("auth", "db", "ldap"):
        assert f"'{host}.example.org'" in whole


def test_what_a_function_of_another_task_is_bound_to_is_known_by_names_of_ones_own():
    accounts = {"iban": "DE00 1234 5678"}
    report = Process([Task("good", accounts.get, args=("x",)), Task("bad", refuse, args=(accounts["iban"],))])
    whole = sent(report.run(), redact_names=("iban",))
    assert "1234 5678" not in whole


def test_secrets_of_tasks_that_a_filter_left_out_are_known():
    class Keeper(ReportChannel):
        def send_report(self, report, *, errors_only):
            texts.append(sent(report))

    class HandsOn(ReportChannel):
        def send_report(self, report, *, errors_only):
            report.notify(Keeper(), only_errors=True)

    texts: list[str] = []
    report = report_of(kwargs={"token": "abc-123-def-456"}, result=1)
    report.entries["bad"] = report_of(exception="denied for abc-123-def-456").entries["job"]
    report.notify(Keeper(), HandsOn(), tasks=["bad"])
    assert len(texts) == 2
    assert all("denied for" in text and "abc-123" not in text for text in texts)


COMMON_VALUES = ["a", "abc", 1, True, None, 12345, "", " ", "******", "default", "password"]


def test_short_and_common_values_do_not_destroy_the_text():
    for value in COMMON_VALUES:
        text = "a plain abc default message: 1 of 12345 is True, not None; the password was ******"
        report = report_of(kwargs={"password": value}, exception=text)
        payload = WebhookChannel(WebhookConfig("https://h/")).payload(report)
        assert payload["entries"]["job"]["error"]["exception"] == text


def test_a_short_secret_is_hidden_under_its_name():
    redactor = Redactor()
    assert redactor.text("{'password': 'abc', 'user': 'bob'}") == "{'password': '<redacted>', 'user': 'bob'}"
    assert redactor.value({"token": "x", "n": [1, ("pw", 2)]}) == {
        "token": REDACTED,
        "n": [1, ("pw", REDACTED)],
    }
    assert redactor.variable("token", "'abc'") == REDACTED
    assert redactor.variable("token", "None") == "None"
    assert redactor.variable("o", "{[1]: 2}") == "{[1]: 2}"
    assert redactor.variable("o", "{'pw': {1: [['x'], 'y']}}") == "{'pw': '<redacted>'}"
    assert (
        redactor.variable("o", "Settings(host='db', password='abc')")
        == "Settings(host='db', password='<redacted>')"
    )


def test_a_secret_is_hidden_under_whatever_keys_its_container_has():
    values = {1: {"pw": "x"}, None: [{b"token": "y"}], (1, 2): {"user": "bob"}}
    hidden = {1: {"pw": REDACTED}, None: [{b"token": REDACTED}], (1, 2): {"user": "bob"}}
    assert Redactor().value(values) == hidden


def test_a_secret_in_a_line_of_a_text_in_a_container_is_hidden():
    report = report_of(result=["user=bob\npw=abc"])
    payload = WebhookChannel(WebhookConfig("https://hooks.example.org/x")).payload(report)
    assert payload["entries"]["job"]["result"] == r"['user=bob\npw=<redacted>']"


def test_of_a_large_value_as_much_is_cleaned_as_is_shown():
    values = ({"pw": 1, "x": [{"pw": 2}, 3]}, [{"pw": 4}], {"pw": 5, "user": "bob"})
    clean = ({"pw": REDACTED, "x": [{"pw": REDACTED}, 3]}, [{"pw": 4}], {"pw": 5, "user": "bob"})
    assert Redactor().value(values, most=7) == clean
    assert Redactor().value(values, most=0) == values
    report = report_of(result=[{"pw": "x"}] * 5_000)
    payload = WebhookChannel(WebhookConfig("https://hooks.example.org/x")).payload(report)
    assert "'x'" not in payload["entries"]["job"]["result"]


def test_a_value_in_very_many_containers_is_left_as_it_is():
    def wrapped(value: object, times: int) -> object:
        for _ in range(times):
            value = [value]
        return value

    assert Redactor().value(wrapped({"pw": "x"}, 40)) == wrapped({"pw": REDACTED}, 40)
    deep = wrapped({"pw": "x"}, 400)
    assert Redactor().value(deep) == deep


BODY = f"\n{'MIIE+w0BAQ/x' * 5}\n{'gkqhkiG9w0' * 6}\nx6-==\n"
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----{BODY}-----END RSA PRIVATE KEY-----"

TEXTS = [
    ("password=abc", "password=<redacted>"),
    ("password=[12]", "password=<redacted>"),
    ("token=None, 'pw': '', auth=True", "token=None, 'pw': '', auth=True"),
    ("Authorization: Bearer abc.def", "Authorization: <redacted>"),
    ("-H 'authorization: token abc'", "-H 'authorization: <redacted>'"),
    ("Proxy-Authorization: basic abc", "Proxy-Authorization: <redacted>"),
    ("['-H', 'Authorization: ApiKey abc1==']", "['-H', 'Authorization: <redacted>']"),
    ("Authorization: please log in", "Authorization: please log in"),
    ("Authorization: abc1 failed", "Authorization: <redacted> failed"),
    ("https://h/?token=abc&x=1", "https://h/?token=<redacted>&x=1"),
    (f"https://h/?q=x&key={'a1' * 16}", "https://h/?q=x&key=<redacted>"),
    (f"https://h/x?sv=2024&sig={'a%2B' * 9}%3D&sp=r", "https://h/x?sv=2024&sig=<redacted>&sp=r"),
    (f"https://h/x?X-Amz-Signature={'0a' * 32}", "https://h/x?X-Amz-Signature=<redacted>"),
    ("https://h/?key=2024/report-of-the-year.csv&x=1", "https://h/?key=2024/report-of-the-year.csv&x=1"),
    (f"https://h/?monkey={'a1' * 16}", f"https://h/?monkey={'a1' * 16}"),
    ("postgres://bob:abc@db/x", "postgres://bob:<redacted>@db/x"),
    ("redis://bob:a@b@cache:6379/0", "redis://bob:<redacted>@cache:6379/0"),
    ("redis://bob:it's@cache", "redis://bob:<redacted>@cache"),
    ("smtp://bob@example.org:abc@host", "smtp://bob@example.org:<redacted>@host"),
    ("redis://:abc@cache", "redis://:<redacted>@cache"),
    ("https://abcdefabcdef@host/x", "https://<redacted>@host/x"),
    ("ssh://git@host:22/x", "ssh://git@host:22/x"),
    ("https://host:80/x@y", "https://host:80/x@y"),
    ('{"url":"https://host:80","to":"bob@example.org"}', '{"url":"https://host:80","to":"bob@example.org"}'),
    ("Invalid token: expired", "Invalid token: expired"),
    ('{"api_key": "abc", "n": 1}', '{"api_key": "<redacted>", "n": 1}'),
    ("--password=abc --n=1", "--password=<redacted> --n=1"),
    ("mysql --password abc --n 1", "mysql --password <redacted> --n 1"),
    ("mysql --password --n 1", "mysql --password --n 1"),
    ("['mysql', '--password', 'abc', '-n']", "['mysql', '--password', '<redacted>', '-n']"),
    ("the password abc", "the password abc"),
    ("<password>abc</password>", "<password><redacted></password>"),
    ("token>abc", "token>abc"),
    ("--token-file /run/token", "--token-file /run/token"),
    ("x = 'password=\"abc\"'", "x = 'password=\"<redacted>\"'"),
    ("if token == other", "if token == other"),
    ("columns ['password', 'user']", "columns ['password', 'user']"),
    ("('password', 'abc')", "('password', '<redacted>')"),
    ("user[password]=abc&x=1", "user[password]=<redacted>&x=1"),
    ("user%5Bpassword%5D=abc&x=1", "user%5Bpassword%5D=<redacted>&x=1"),
    (
        "https://h/?to=https%3A%2F%2Fi%2F%3Ftoken%3Dabc",
        "https://h/?to=https%3A%2F%2Fi%2F%3Ftoken%3D<redacted>",
    ),
    (f"not {PRIVATE_KEY} of ann", f"not {PRIVATE_KEY.replace(BODY, REDACTED)} of ann"),
    (f"not {PRIVATE_KEY!r} of ann", f"not {PRIVATE_KEY!r} of ann".replace(repr(BODY)[1:-1], REDACTED)),
    ("no -----BEGIN PRIVATE KEY----- in ann.pem", "no -----BEGIN PRIVATE KEY----- in ann.pem"),
    ("/srv/auth.py:31 in login", "/srv/auth.py:31 in login"),
    ("auth.py:31: token=abc", "auth.py:31: token=<redacted>"),
    ("auth.py:3; secrets.py:12:7", "auth.py:3; secrets.py:12:7"),
    ("token.py=hunter2hunter2", "token.py=<redacted>"),
    ("at auth.js:10:15 of Token.java:57", "at auth.js:10:15 of Token.java:57"),
    ("no auth.example.org:443, http://auth:8080/x", "no auth.example.org:443, http://auth:8080/x"),
    ("https://auth:8080@host self.token:8080", "https://auth:<redacted>@host self.token:<redacted>"),
    (
        "auth.example.org:443abc auth.example.org=443",
        "auth.example.org:<redacted> auth.example.org=<redacted>",
    ),
]


def test_names_in_a_text_mark_what_follows_them():
    for text, clean in TEXTS:
        assert Redactor().text(text) == clean


def test_a_source_line_keeps_its_names_and_loses_its_literals():
    traceback = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\n'
        '    login(user, password=password, token="abc")\nE: password=abc\n'
        '  File "a.py", line 4, in f\n    environ["PASSWORD"] = f"abc{one}"\n'
    )
    assert Redactor().traceback(traceback) == (
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\n'
        '    login(user, password=password, token="<redacted>")\nE: password=<redacted>\n'
        '  File "a.py", line 4, in f\n    environ["PASSWORD"] = f"<redacted>"\n'
    )


def test_a_container_in_a_source_line_is_hidden_if_it_has_a_literal():
    traceback = '  File "a.py", line 3, in f\n    login(token={}, user=1)\n'
    redactor = Redactor()
    assert redactor.traceback(traceback.format('["abc", key]')) == traceback.format(REDACTED)
    assert redactor.traceback(traceback.format("[first, key]")) == traceback.format("[first, key]")


def test_a_value_in_escaped_quotes_is_known_elsewhere_too():
    redactor = Redactor()
    redactor.learn([("", 'the body was {\\"password\\": \\"hunter2-hunter\\"}')])
    assert redactor.text("tried hunter2-hunter") == f"tried {REDACTED}"


def test_an_object_under_the_name_of_a_secret_tells_none_by_its_repr():
    redactor = Redactor()
    redactor.learn([("token", "<Session object at 0x7f00>")])
    assert redactor.text("a Session object at hand") == "a Session object at hand"
    redactor.learn([("token", "<Session of 'hunter2-hunter'>")])
    assert redactor.text("the Session of hunter2-hunter") == f"the Session of {REDACTED}"


def test_lines_of_files_named_like_a_secret_keep_their_numbers():
    report = report_of(
        exception="at secrets.py:123456",
        traceback_str='  File "/srv/auth.py", line 123456, in login\n    fail()\nE: at secrets.py:123456\n',
        traced_vars_location="/srv/auth.py:123456 in login",
    )
    assert REDACTED not in sent(report)
    assert REDACTED not in sent(report, redact_names=("auth", "secrets"))


PATHS = ["/srv/project", "C:\\\\project", b"/srv/project"]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_working_folder_of_an_environment_is_no_secret(path):
    environment = {"PWD": path, "OLDPWD": path, "XDG_SESSION_ID": "123456", "TOKEN": "abc-123456"}
    pairs = list(environment.items())
    text = f"{environment!r} {pairs!r}\nPWD={path}\n"
    report = report_of(
        kwargs={"env": environment, "pairs": pairs},
        exception=text,
        traceback_str=f'  File "{path}/pipeline.py", line 3, in f\n    fail()\nE: {text}\n',
        traced_vars={"env": repr(environment), "PWD": repr(path)},
    )
    error = WebhookChannel(WebhookConfig("https://h/")).payload(report)["entries"]["job"]["error"]
    expected = text.replace("abc-123456", REDACTED)
    assert error["exception"] == expected
    assert error["traceback"].endswith(f"E: {expected}\n")
    assert error["traced_vars"] == {
        "env": repr(environment).replace("abc-123456", REDACTED),
        "PWD": repr(path),
    }
    assert "abc-123456" not in sent(report)


@pytest.mark.parametrize(
    "text",
    [
        'pwd="hunter2"',
        'pwd="/hunter2"',
        "PWD=hunter2",
        "{'PWD': 'hunter2'}",
        "UID=sa;PWD=/hunter2",
        "UID=sa; PWD=/hunter2",
        "PWD=/hunter2;UID=sa",
    ],
)
def test_any_other_value_of_pwd_is_a_secret(text):
    redactor = Redactor()
    redactor.learn([("text", text), ("pwd", "/other-secret"), ("PWD", "third-secret")])
    assert "hunter2" not in redactor.text(text)
    assert redactor.text("/other-secret third-secret") == "<redacted> <redacted>"
    assert redactor.value({"pwd": "/x", "PWD": "x"}) == {"pwd": REDACTED, "PWD": REDACTED}


def test_users_can_hide_what_looks_like_a_place():
    assert Redactor(("customer",)).text("customer.id:1234567") == "customer.id:<redacted>"


def test_users_can_hide_the_working_folder():
    assert Redactor(("pwd",)).text("PWD=/srv/project") == "PWD=<redacted>"
    assert Redactor(("pwd",)).value({"PWD": "/srv/project"}) == {"PWD": REDACTED}


def test_what_is_left_of_a_secret_at_a_cut_is_hidden():
    redactor = Redactor()
    redactor.learn([("token", "abcdefghijklmnop")])
    assert redactor.text("xx 'abcdefgh'… 8 more characters") == "xx '<redacted>'… 8 more characters"
    text = redactor.text("so abcdefgh\n… 9 more characters …\nijklmnop end")
    assert text == "so <redacted>\n… 9 more characters …\n<redacted> end"


def test_a_long_result_ends_without_a_piece_of_a_secret():
    token = "T0" * 2_500
    report = report_of(result=["x" * 1_500, token, "y"], kwargs={"token": token})
    assert "T0T0T0" not in sent(report)


def test_redaction_can_be_turned_off():
    report = report_of(kwargs={"token": "abcdefgh"}, exception="abcdefgh")
    assert "abcdefgh" in sent(report, redact=False)
    assert isinstance(Redactor.for_report(report, ReportContent(redact=False)), TransparentRedactor)
    assert "bcdefghi" in sent(report_of(result={"token": "bcdefghi"}), redact=False)


def test_names_can_be_added():
    report = report_of(kwargs={"payer_iban": "DE001234567"}, exception="no account DE001234567")
    assert "DE00" in sent(report)
    assert "DE00" not in sent(report, redact_names=("iban",))
    assert "DE00" not in sent(report, redact_names=["iban"])


def test_hostile_objects_are_looked_at_without_running_their_code():
    ran = []

    class Hostile:
        def __init__(self):
            self.password = "do-not-show-me"

        def __getattr__(self, name):
            ran.append(name)
            raise RuntimeError(name)

        def __eq__(self, other):
            ran.append("eq")
            raise RuntimeError

        def __hash__(self):
            ran.append("hash")
            raise RuntimeError

        def __repr__(self):
            raise RuntimeError("do-not-show-me")

    cyclic = {}
    cyclic["self"] = [cyclic, Hostile(), Hostile().__init__, partial(print, Hostile())]
    report = report_of(kwargs={"x": cyclic}, exception="saw do-not-show-me")
    assert "do-not-show" not in sent(report)
    assert ran == []


def test_a_proxy_may_stand_for_something_that_is_not_there():
    class Absent:
        @property
        def __dict__(self):
            raise RuntimeError("no request is being served")

    class Refused(Absent, Exception):
        pass

    request = Absent()

    def refuse():
        raise Refused(f"no request: {request is None}")

    assert "no request: False" in sent(Process([Task("job", refuse)]).run())


def test_a_weak_proxy_may_outlive_its_object():
    proxy = weakref.proxy(type("Session", (), {})())
    report = report_of(result=(proxy, 1), kwargs={"password": "do-not-show-me"})
    assert "weakproxy" in sent(report)


def test_thousands_of_secrets_and_long_texts_take_linear_time():
    redactor = Redactor()
    redactor.learn(("token", f"secret-{number:06}-{number * 7919 % 100_003}") for number in range(5_000))
    text = "a" * 200_000 + " secret-000042-" + str(42 * 7919 % 100_003) + " " + "password" * 10_000
    assert redactor.text(text) == "a" * 200_000 + " <redacted> " + "password" * 10_000


def test_of_many_texts_those_of_failed_tasks_are_searched_and_then_as_many_as_time_allows(monkeypatch):
    monkeypatch.setattr("processes.comms.redaction.MAX_ALL_TEXTS", 1_000)
    report = report_of(exception="password=first-secret")
    for name in ("second", "third"):
        result = f"password={name}-secret {'.' * 600}"
        report.entries[name] = report_of(result=result).entries["job"]
    redactor = Redactor.for_report(report, ReportContent())
    assert redactor.text("first-secret second-secret third-secret") == "<redacted> <redacted> third-secret"


@pytest.mark.parametrize("kind", [list, dict.fromkeys], ids=["list", "dict"])
def test_of_a_large_container_no_more_is_copied_than_is_looked_at(kind):
    redactor, large = Redactor(), kind(range(1_000_000))
    tracemalloc.start()
    redactor.learn([("", large)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_of_many_containers_no_more_is_kept_than_is_looked_at(monkeypatch):
    monkeypatch.setattr("processes.comms.redaction.MAX_VALUES", 10_000)
    redactor, many = Redactor(), [("", list(range(1_000))) for _ in range(1_000)]
    tracemalloc.start()
    redactor.learn(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


HOSTILE_TEXTS = {
    "records": lambda size: "|".join(f"user={n}|token=tk{n:06}" for n in range(size // 24)),
    "keys": lambda size: "|".join(f"session:token:{n:06}" for n in range(size // 21)),
    "names alone": lambda size: "password=" * (size // 9),
    "names without a digit": lambda size: "token:" * (size // 6),
    "siblings": lambda size: " ".join("token=" + "a" * n for n in range(6, int((2 * size) ** 0.5))),
    "almost a long one": lambda size: f"token={'a' * (size // 2)}b {'a' * (size // 2)}",
    "quotes that stay open": lambda size: "token='" + '\\"' * (size // 2),
    "a file's name that goes on": lambda size: 'File "x", line 1 ' * (size // 17),
    "queries": lambda size: "?" + "-ignature-S" * (size // 22) + "&key=" * (size // 10),
    "users in URLs": lambda size: "://a:" * (size // 15) + "a:" * (size // 6) + "@'" * (size // 6),
    "URLs without a password": lambda size: "://" + "abcdefabcdef'" * (size // 13),
    "private keys": lambda size: (
        "-----BEGIN PRIVATE KEY-----" * (size // 50) + "-----BEGIN " + "A " * (size // 4)
    ),
    "cuts": lambda size: "token=abcdefgh… 9 more bytes …\n" * (size // 31),
}


@pytest.mark.parametrize("kind", HOSTILE_TEXTS)
def test_what_is_learned_of_a_hostile_text_is_no_more_than_some_spellings_of_it(kind):
    text = HOSTILE_TEXTS[kind](20_000)
    redactor = Redactor()
    redactor.learn([("line", text)])
    assert sum(map(len, redactor._secrets)) < 30 * len(text)
    redactor.text(text)


@pytest.mark.once
def test_hostile_texts_take_linear_time():
    began = time.process_time()
    for make in HOSTILE_TEXTS.values():
        text = make(15_000)
        sent(report_of(kwargs={"token": text}, exception="no", traceback_str=text))
    # A second or two; with the square of a text's length it would be minutes.
    assert time.process_time() - began < 30


def test_names_within_a_value_that_goes_on_mark_values_of_their_own():
    line = "user=1|token=first-secret|user=2|password=db:second-secret|n=1|cookie=name=third-secret"
    redactor = Redactor()
    redactor.learn([("line", line)])
    assert redactor.text(line) == "user=1|token=<redacted>"
    rests = "first-secret|user=2 db:second-secret|n=1 third-secret"
    assert redactor.text(rests) == "<redacted> <redacted> <redacted>"
    assert redactor.text("user=1 second name=x") == "user=1 second name=x"


def test_secrets_that_overlap_are_hidden_to_the_end_of_the_last():
    redactor = Redactor()
    redactor.learn([("token", "abcdefgh"), ("token", "efghijkl")])
    assert redactor.text("x abcdefghijkl x") == "x <redacted> x"


def test_a_long_secret_is_hidden_whole_and_where_it_was_cut():
    token = "".join(f"{n:x}-" for n in range(500))
    redactor = Redactor()
    redactor.learn([("token", token)])
    assert redactor.text(f"x {token} x") == "x <redacted> x"
    text = redactor.text(f"x {token[:1000]}\n… 9 more characters …\n{token[1100:]} x")
    assert text.replace(REDACTED, "") == "x \n… 9 more characters …\n x"


def test_all_of_a_secrets_siblings_are_found_where_one_begins_the_other():
    redactor = Redactor()
    redactor.learn([("token", "abcdef"), ("token", "abcdefgh"), ("token", "abcxyz")])
    assert redactor.text("abcdefgh abcdef abcxyz abc") == "<redacted> <redacted> <redacted> abc"


def test_secrets_are_learned_once_for_a_whole_report_and_each_choice_of_names():
    report = report_of(kwargs={"token": "abc-123456"}, exception="x")
    part = report._restricted_to({})
    plain, named = ReportContent(show_traceback=False), ReportContent(redact_names=("iban",))
    assert Redactor.for_report(part, plain) is Redactor.for_report(report, ReportContent())
    assert Redactor.for_report(part, named) is not Redactor.for_report(report, plain)
    assert Redactor.for_report(part, named) is Redactor.for_report(report, named)
    assert pickle.loads(pickle.dumps(report)).redactors == {}


def test_a_report_that_was_changed_is_learned_afresh_when_it_is_sent():
    class Page(ReportChannel):
        def send_report(self, report, *, errors_only):
            pages.append(render_report_html(report))

    pages: list[str] = []
    report = report_of(exception="no abc-123456")
    report.notify(Page())
    report.entries["job"].error.kwargs["token"] = "abc-123456"
    report.notify(Page(), Page())
    assert ["abc-123456" in page for page in pages] == [True, False, False]


def test_wrong_content_is_refused():
    for switch in ("show_traceback", "show_traced_vars", "redact"):
        with pytest.raises(TypeError, match=f"{switch} must be bool, not str"):
            ReportContent(**{switch: "no"})
    with pytest.raises(TypeError, match="redact_names must be a tuple of str"):
        ReportContent(redact_names="iban")
