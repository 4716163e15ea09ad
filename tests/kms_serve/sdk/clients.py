"""Both official SDKs behind one call: an action by name, parameters by their names on the wire, an answer as a dict."""

import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
from importlib import import_module

from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import AccessKeyCredential, StsTokenCredential
from aliyunsdkcore.client import AcsClient


class Refused(Exception):
    """The KMS says no."""

    def __init__(self, code, status, message, request_id):
        super().__init__(f"{code} ({status}): {message} [{request_id}]")
        self.code, self.status, self.message, self.request_id = code, status, message, request_id


class Older:
    """aliyun-python-sdk-kms: signature V1 always."""

    def __init__(self, address, key, method="POST", format="JSON", form=False):
        self.address, self.method, self.format, self.form = address, method, format, form
        identity, secret, token = key
        credential = StsTokenCredential(identity, secret, token) if token else AccessKeyCredential(identity, secret)
        self.client = AcsClient(region_id="cn-hangzhou", credential=credential)
        kind = "form" if form else method
        self.name = f"older SDK, V1, {kind}, {format}{', STS' if token else ''}"

    def call(self, action, **parameters):
        module = import_module(f"aliyunsdkkms.request.v20160120.{action}Request")
        request = getattr(module, f"{action}Request")()
        request.set_endpoint(self.address)
        request.set_protocol_type("http")
        request.set_method(self.method)
        request.set_accept_format(self.format)
        for name, value in parameters.items():
            if isinstance(value, dict):
                value = json.dumps(value, ensure_ascii=False)
            elif isinstance(value, bool):
                value = json.dumps(value)
            if self.form:
                request.add_body_params(name, value)
            else:
                getattr(request, f"set_{name}", lambda value: request.add_query_param(name, value))(value)
        if self.format == "XML":
            return self.answer_in_xml(request)
        try:
            return json.loads(self.client.do_action_with_exception(request))
        except ServerException as error:
            raise Refused(
                error.get_error_code(), error.get_http_status(), error.get_error_msg(), error.get_request_id()
            ) from error

    def answer_in_xml(self, request):
        """`do_action_with_exception` sets the format back to JSON; this older way does not."""
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            status, _, body = self.client.get_response(request)
        if status is None:
            raise ConnectionError("no answer")
        root, fields = from_xml(body)
        if status == 200:
            assert root == "KMS", root
            return fields
        raise Refused(fields["Code"], status, fields["Message"], fields["RequestId"])


# Elements that are lists also when there is only one of them, or none.
LISTS = {"Keys": "Key", "Aliases": "Alias", "KeyVersions": "KeyVersion", "Tags": "Tag"}


def from_xml(text):
    """The root's name and the fields of an answer in XML, as JSON would have them; numbers and booleans stay text."""

    def value(element):
        if element.tag in LISTS:
            return {LISTS[element.tag]: [value(item) for item in element]}
        if len(element) == 0:
            return element.text or ""
        return {child.tag: value(child) for child in element}

    root = ElementTree.fromstring(text)
    return root.tag, value(root)


class Current:
    """alibabacloud_kms20160120: V3 unless told otherwise."""

    def __init__(self, address, key, style, region="cn-hangzhou"):
        options = {"V3": {}, "V1": {"signature_algorithm": "v2"}, "V4": {"signature_version": "v4"}}[style]
        identity, secret, token = key
        self.client = Client(
            Config(
                access_key_id=identity,
                access_key_secret=secret,
                security_token=token,
                endpoint=address,
                protocol="http",
                region_id=region,
                **options,
            )
        )
        self.name = f"current SDK, {style}{', STS' if token else ''}"

    def call(self, action, **parameters):
        request = getattr(models, f"{action}Request")().from_map(parameters)
        method = getattr(self.client, re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower())
        try:
            return method(request).body.to_map()
        except Exception as error:
            data = getattr(error, "data", None)
            if not isinstance(data, dict) or "Code" not in data:
                raise
            message = re.sub(r"^code: \d+, (.*) request id: .*$", r"\1", error.message, flags=re.DOTALL)
            raise Refused(data["Code"], data["statusCode"], message, data["RequestId"]) from error
