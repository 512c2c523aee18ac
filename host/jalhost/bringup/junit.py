"""A report as a JUnit file: a suite for each round, a case for each stage."""

from xml.etree import ElementTree

from jalhost.bringup.report import Report, StageReport, Verdict


def junit_xml(report: Report) -> str:
    """The file's text."""
    suites = ElementTree.Element("testsuites", name="jalhost bringup", time=f"{report.seconds:.3f}")
    for entry in report.rounds:
        count = dict.fromkeys(Verdict, 0)
        for stage in entry.stages:
            count[stage.verdict] += 1
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=f"{report.target} round {entry.number}",
            timestamp=report.started,
            tests=str(len(entry.stages)),
            failures=str(count[Verdict.FAIL]),
            errors="0",
            skipped=str(count[Verdict.SKIP]),
            time=f"{sum(stage.seconds for stage in entry.stages):.3f}",
        )
        for stage in entry.stages:
            _add_case(suite, report, stage)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, report: Report, stage: StageReport) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(f"bringup.{report.target}"),
        name=stage.stage,
        time=f"{stage.seconds:.3f}",
    )
    summary = _clean(stage.summary)
    if stage.verdict is Verdict.SKIP:
        ElementTree.SubElement(case, "skipped", message=summary)
    elif stage.verdict is Verdict.FAIL:
        failure = ElementTree.SubElement(case, "failure", message=summary)
        lines = [*(f"perhaps: {cause}" for cause in stage.causes), f"next: {stage.next_command}"]
        failure.text = _clean("\n".join(lines))
    output = ElementTree.SubElement(case, "system-out")
    output.text = _clean("\n".join(f"{name}: {value}" for name, value in stage.evidence.items()))


def _clean(text: str) -> str:
    """Without control characters, which XML cannot hold."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())
