"""The tests that are about what a build can do without, by the switches of mip/__init__.py.

MIP_WITHOUT="search native" ./tools/test tries a build without these. Skipped is what is said here
of them, and what calls a verb that is not there; all other tests pass. With "all", the small mip,
only SMALL is tried: it has tests of its own.
"""

import os
import re

import pytest

SAID = "what is replaced, hidden or not protected is not said"
WORDS = "an error has fewer words"
BYTECODE = "what this firmware does not load is installed"
AGAIN = "nothing is tried again"
CASE = "the name of a forge is as it is written"
PAGE = "a page of a forge is a URL as any other"

# Switch: pattern of tests: why. A pattern is the beginning of a test's id below tests/, up to its
# end, a `::` or a `[`; `*` is anything.
TESTS = {
    "search": {},
    "verify": {
        "documents/test_docs.py::test_the_page[README.md]": "the page calls verify()",
    },
    "manage": {
        "documents/test_docs.py::test_the_page[README.md]": "the page calls list()",
        "store/test_damage.py::test_a_damaged_plan_of_an_interrupted_run": (
            "there is no upgrade() to interrupt"
        ),
    },
    "native": {
        "boards/test_bytecode.py": BYTECODE,
        "boards/test_native.py": "native code",
        "sources/test_corpus.py::test_each_is_installed_or_refused_by_its_mistake": BYTECODE,
        "verbs/test_verbs.py::test_upgrade_is_one_transaction[*bytecode of another version]": (
            BYTECODE
        ),
    },
    "ahead": {
        "network/test_requests_ahead.py::test_requests_are_sent_ahead": "none is",
    },
    "retries": {
        "network/test_network_faults.py::test_a_busy_server_is_asked_again": "once is all",
        "network/test_network_faults.py::test_a_connection_cut_after_any_byte[*-once]": AGAIN,
        "network/test_network_faults.py::test_a_kept_connection_that_dies": AGAIN,
        "network/test_network_faults.py::test_an_error_at_any_call_of_a_socket[*-once]": AGAIN,
        "network/test_network_faults.py::test_retry_after": "there is no second time",
        "network/test_network_limits.py::test_what_goes_wrong_with_requests_as_a_session": AGAIN,
        "network/test_network_limits.py::test_what_is_staged_stays": AGAIN,
        "network/test_network_limits.py::test_what_is_tried_again_is_said": AGAIN,
        "network/test_requests_ahead.py::test_a_reset_at_any_call": AGAIN,
        "network/test_requests_ahead.py::test_what_is_not_answered_is_asked_again[cuts]": AGAIN,
        "network/test_requests_ahead.py::test_what_is_not_answered_is_asked_again[is busy]": AGAIN,
        "network/test_waiting.py::test_the_hook_while_a_server_wants_a_pause": "it makes none",
    },
    "pages": {
        "sources/test_sources.py::*[https://github.com/*": PAGE,
        "sources/test_sources.py::test_one_package_in_two_spellings[*https://github.com/*": PAGE,
        "sources/test_sources.py::test_the_shape_of_a_dependency[page*": PAGE,
        "sources/test_sources.py::test_the_version_of_who_asks[*https://github.com/*": PAGE,
        "sources/test_sources.py::test_two_pinned_versions[of a repository]": PAGE,
        "sources/test_sources.py::test_what_was_asked_for[page]": PAGE,
        "verbs/test_verbs.py::test_uninstall_what_is_needed[page of a repository]": PAGE,
        "verbs/test_what_people_type.py::test_one_package_under_two_names": PAGE,
        "verbs/test_what_people_type.py::test_what_is_meant_is_installed[*codeberg.org/*": PAGE,
        "verbs/test_what_people_type.py::test_what_is_meant_is_installed[*gitlab.com/*": PAGE,
        "verbs/test_what_people_type.py::test_what_is_meant_is_installed[*github.com/*": PAGE,
        "verbs/test_what_people_type.py::test_what_is_meant_is_installed[*GitHub*": CASE,
        "verbs/test_what_people_type.py::test_what_is_meant_is_installed[GITHUB:*": CASE,
        "verbs/test_what_people_type.py::test_what_is_not_understood_is_said": (
            "what a name begins with is not looked at"
        ),
    },
    "advice": {
        "network/test_network_limits.py::test_out_of_memory_at_connecting": WORDS,
        "network/test_network_limits.py::test_what_goes_wrong_with_requests_as_a_session": WORDS,
        "network/test_session.py::test_a_location_that_is_too_long": WORDS,
        "network/test_trust.py::test_a_clock_that_nobody_set": WORDS,
        "network/test_trust.py::test_a_host_that_is_not_known": WORDS,
        "network/test_trust.py::test_a_package_that_is_not_there": WORDS,
        "network/test_trust.py::test_a_refused_handshake": WORDS,
        "network/test_trust.py::test_a_server_that_is_not_to_be_trusted": WORDS,
        "network/test_trust.py::test_a_server_that_the_command_line_does_not_trust": WORDS,
        "network/test_trust.py::test_headers_do_not_go_to_a_server_that_is_not_to_be_trusted": (
            WORDS
        ),
        "network/test_trust.py::test_no_other_address_is_tried": WORDS,
        "network/test_trust.py::test_the_roots_of_the_system": WORDS,
        "sources/test_corpus.py::test_each_is_installed_or_refused_by_its_mistake": WORDS,
        "sources/test_corpus.py::test_what_only_another_index_has": WORDS,
        "sources/test_pins.py::test_what_may_be_changed_on_its_way": SAID,
        "sources/test_sources.py::test_entries_that_clash": WORDS,
        "sources/test_sources.py::test_packages_that_clash": WORDS,
        "sources/test_sources.py::test_packages_with_different_content_for_one_path": SAID,
        "sources/test_sources.py::test_replacing_a_file_of_no_package": SAID,
        "store/test_damage.py::test_what_is_no_file": WORDS,
        "store/test_meeting.py::test_a_file_that_is_gone_stops_only_its_package": WORDS,
        "store/test_meeting.py::test_a_file_that_must_be_a_directory": WORDS,
        "store/test_meeting.py::test_a_file_that_must_be_a_directory_in_another_letter_case": (
            WORDS
        ),
        "store/test_meeting.py::test_a_path_of_three": SAID,
        "store/test_meeting.py::test_a_shared_path": SAID,
        "store/test_meeting.py::test_a_shared_path_in_the_next_version": SAID,
        "store/test_meeting.py::test_a_shared_path_on_fat": SAID,
        "store/test_meeting.py::test_a_shared_path_without_hashes": SAID,
        "store/test_meeting.py::test_changed_by_hand": SAID,
        "store/test_meeting.py::test_changed_by_hand_and_of_another": SAID,
        "store/test_meeting.py::test_what_import_loads": SAID,
        "verbs/test_search.py::test_an_index_without_a_list": WORDS,
        "verbs/test_verbs.py::test_a_file_of_another_package": SAID,
        "verbs/test_verbs.py::test_a_file_of_no_package": SAID,
        "verbs/test_verbs.py::test_a_package_that_is_gone_stops_only_itself": WORDS,
        "verbs/test_verbs.py::test_an_older_version_of_upstreams": SAID,
        "verbs/test_verbs.py::test_both_forms_in_one_package": SAID,
        "verbs/test_verbs.py::test_both_forms_in_one_run": SAID,
        "verbs/test_verbs.py::test_both_forms_of_two_packages": SAID,
        "verbs/test_verbs.py::test_the_other_form_is_of_no_package": SAID,
        "verbs/test_what_people_type.py::test_a_dependency_that_is_missing": WORDS,
        "verbs/test_what_people_type.py::test_an_error_after_a_commit_was_finished": WORDS,
        "verbs/test_what_people_type.py::test_an_error_of_the_network_is_not_the_documents": WORDS,
        "verbs/test_what_people_type.py::test_another_type": WORDS,
        "verbs/test_what_people_type.py::test_what_is_not_understood_is_said": WORDS,
    },
    "offline": {
        "verbs/test_verbs.py::test_nothing_changed[pinned-install]": "it asks again",
        "verbs/test_verbs.py::test_nothing_changed_without_hashes[install]": "it asks again",
        "verbs/test_what_people_type.py::test_what_is_pinned_and_in_place_is_not_asked_for": (
            "it is asked for"
        ),
    },
    "unix": {
        "store/test_two_runs.py": "two processes at once",
    },
}


# What holds for the small mip, too: patterns, as above.
SMALL = (
    "boards/test_freeze.py",
    "boards/test_small.py",
    "boards/test_switches.py",
    "network/test_network_faults.py::test_a_connection_cut_after_any_byte[*-for ever]",
    "documents/test_package_management.py",
    "store/test_disk_errors.py::test_an_error_at_every_call[*-install]",
    "store/test_power_cuts.py::test_a_power_cut[install*]",
    "store/test_power_cuts.py::test_a_power_cut_during_recovery[install*]",
)


def _fits(pattern, test):
    text = re.escape(f"tests/{pattern}").replace(r"\*", ".*")
    return re.fullmatch(f"{text}((::|\\[).*)?", test, re.DOTALL) is not None


def why(test, without):
    """Why a test is skipped on a build without these switches, or None.

    test: its id. without: the names of the switches, or "all", with spaces between them.
    """
    if "all" in without.split():
        tried = any(_fits(pattern, test) for pattern in SMALL)
        return None if tried else "the small mip has tests of its own: boards/test_small.py"
    for switch, tests in TESTS.items():
        for pattern, reason in tests.items():
            if _off(switch, without) and _fits(pattern, test):
                return f"this build is without {switch}: {reason}"
    return None


def _off(switch, without):
    return switch in without.split() or "all" in without.split()


def off(switch):
    """Whether the build under test is without this switch."""
    return _off(switch, without())


def without():
    """The switches that the environment variable MIP_WITHOUT has, as text."""
    return os.environ.get("MIP_WITHOUT", "")


def skip_after(output):
    """Skip the test whose program has called a verb that this build is without."""
    said = re.search(r"this mip was built without (\w+)", output)
    if said and without():
        pytest.skip(said[0])
