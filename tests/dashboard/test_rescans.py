"""The page of re-scans: tried, planned, paused, resumed, ended; what could not be judged; and what is refused."""

import re

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from moderation.application import Application
from moderation.audit import trail
from moderation.rescans.records import PlanSpec
from moderation.tables import Measurement, RescanPlan
from tests.dashboard.conftest import Browser, submit
from tests.dashboard.test_leads import signed
from tests.moderation.rescans.stored import findings, run, store

COUNT = 12
PAGE = "/app/rescans"


@pytest.fixture
def hosted(parts: Application) -> Application:
    store(parts.database, parts.policies.get(""), [findings(number) for number in range(COUNT)])
    return parts


@pytest.fixture
def lead(hosted: Application, browse: Browser) -> TestClient:
    return signed(browse, hosted, "lead")[0]


def newest(application: Application) -> RescanPlan:
    return application.rescans.plans("default")[0].plan


def words(text: str) -> str:
    """A page's words alone."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def change_what_was_found(application: Application, number: int) -> None:
    """Let stored findings say more than the verdict knows of."""
    with application.database.write() as session:
        row = session.scalars(sa.select(Measurement).order_by(Measurement.id)).all()[number]
        row.findings = [f | {"fpr": 0.0, "score": 1.0} if f["label"] == "nsfw" else f for f in row.findings]


def test_it_is_tried_planned_and_followed(hosted: Application, lead: TestClient) -> None:
    change_what_was_found(hosted, 0)
    assert "Nothing was scanned again yet." in lead.get(PAGE).text

    tried = submit(lead, PAGE, f"{PAGE}/dry-run", using="policy", sample="100")
    assert tried.status_code == 200
    assert f"Judged for this {COUNT} Of them, changed 1" in words(tried.text)
    assert "pic-0" in tried.text
    assert hosted.rescans.plans("default") == []

    planned = submit(lead, PAGE, using="policy", sample="100", max_changed="5,000")
    plan = newest(hosted)
    assert planned.headers["location"] == f"{PAGE}/{plan.id}"
    assert PlanSpec.from_dict(plan.spec).max_changed == 5_000
    assert f'max="{COUNT}" value="0"' in lead.get(PAGE).text
    run(hosted, plan.id)

    page = lead.get(f"{PAGE}/{plan.id}").text
    assert f'max="{COUNT}" value="{COUNT}"' in page
    assert f"Judged {COUNT} Changed 1" in words(page)
    assert "It has ended." in page
    assert "None so far." in page


def test_it_is_paused_resumed_with_another_limit_and_cancelled(hosted: Application, lead: TestClient) -> None:
    submit(lead, PAGE, using="policy", sample="50", hours="22-6")
    plan = newest(hosted)
    one = f"{PAGE}/{plan.id}"
    seen = []
    for step, fields in (("pause", {}), ("resume", {"max_changed": "7"}), ("cancel", {})):
        assert submit(lead, one, f"{one}/{step}", **fields).headers["location"] == one
        seen.append(newest(hosted).state)

    assert seen == ["paused", "running", "cancelled"]
    spec = PlanSpec.from_dict(newest(hosted).spec)
    assert (spec.sample, spec.hours, spec.max_changed) == (0.5, "22-6", 7)
    acts = {record.action: record.actor for record in trail(hosted.database, "default", plan.id)}
    assert set(acts) == {"rescan.planned", "rescan.paused", "rescan.running", "rescan.cancelled"}
    assert len(set(acts.values())) == 1
    assert lead.post(f"{one}/pause").status_code == 403  # without the form's token
    csrf = re.search(r'name="csrf" value="([^"]*)"', lead.get(one).text)
    assert csrf
    answer = lead.post(f"{one}/pause", data={"csrf": csrf[1]})
    assert (answer.status_code, "is cancelled" in answer.text) == (409, True)


def test_what_could_not_be_judged_is_listed(hosted: Application, lead: TestClient) -> None:
    with hosted.database.write() as session:
        session.execute(sa.text("update scans set policy = 'gone' where external_id = 'pic-3'"))
    submit(lead, PAGE, using="policy")
    plan = newest(hosted)
    run(hosted, plan.id)

    page = lead.get(f"{PAGE}/{plan.id}").text
    assert "policy_not_found" in page
    assert "given up" in page


REFUSED = [
    ({"using": "everything"}, "using is"),
    ({"using": "head"}, "names 0 detectors"),
    ({"using": "model", "detector": "nsfw"}, "nothing says where they are"),
    ({"using": "policy", "sample": "0"}, "sample is 0"),
    ({"using": "policy", "sample": "much"}, "The share is"),
    ({"using": "policy", "max_changed": "inf"}, "The limit is"),
    ({"using": "policy", "max_changed": "-1"}, "max_changed is -1"),
    ({"using": "policy", "hours": "late"}, "hours is"),
    ({"using": "policy", "policy": "gone"}, "no policy"),
    ({"using": "policy", "source": "file:///"}, "Images are read from"),
]


def test_plans_that_cannot_be_are_refused_and_the_form_keeps_what_was_typed(
    hosted: Application, lead: TestClient
) -> None:
    for fields, said in REFUSED:
        for path in (PAGE, f"{PAGE}/dry-run"):
            answer = submit(lead, PAGE, path, **{"hours": "1-2", **fields})
            assert answer.status_code in (400, 404, 422), answer.text
            assert said in answer.text
            assert f'name="hours" value="{fields.get("hours", "1-2")}"' in answer.text
    assert hosted.rescans.plans("default") == []


def test_a_tenant_sees_its_own_only(hosted: Application, browse: Browser) -> None:
    browser, _ = signed(browse, hosted, "lead")

    assert browser.get(f"{PAGE}/rescan_none").status_code == 404
