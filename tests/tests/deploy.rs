//! What is deployed around the agent: rules and configurations of Prometheus and Alertmanager, as their own
//! tools see them, and that they speak of what the agent exports.

// needs: nothing
// takes: 2 s

use std::collections::BTreeSet;
use std::fs;

use observer_tests::deployed::{all_rules, deploy, files, said};
use observer_tests::rules::{self, Rule};

#[test]
fn promtool_accepts_the_rules() -> anyhow::Result<()> {
    said("promtool", &["check", "rules", "--lint=all", "--lint-fatal"], &files("prometheus/rules", "yml")?)?;
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_and_only_then() -> anyhow::Result<()> {
    let files = files("prometheus/tests", "yml")?;
    said("promtool", &["test", "rules"], &files)?;

    // There is a case of both kinds for each of them.
    let cases = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?.join("\n");
    for alert in all_rules()?.iter().filter(|rule| rule.is_alert) {
        let due = format!("alertname: {}\n        exp_alerts:", alert.name);
        assert!(cases.contains(&due), "no test lets {} fire", alert.name);
        let silent = format!("alertname: {}, exp_alerts: [] }}", alert.name);
        assert!(cases.contains(&silent), "no test has {} stay silent", alert.name);
    }
    Ok(())
}

#[test]
fn promtool_accepts_the_configurations() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    std::os::unix::fs::symlink(
        fs::canonicalize(deploy().join("prometheus/rules"))?,
        directory.path().join("rules"),
    )?;
    for name in ["prometheus.yml", "kubernetes.yml"] {
        let text = fs::read_to_string(deploy().join("prometheus").join(name))?;
        // Debian's Prometheus is built without a client of Kubernetes: all but what asks it is checked.
        let lines = text.lines().map(|line| match line.split_once("kubernetes_sd_configs: [") {
            Some((indent, _)) => format!("{indent}static_configs: []"),
            None => line.to_owned(),
        });
        let copy = directory.path().join(name);
        fs::write(&copy, lines.collect::<Vec<_>>().join("\n"))?;
        let said = said("promtool", &["check", "config"], &[copy])?;
        let rules = files("prometheus/rules", "yml")?.len();
        assert!(said.contains(&format!("{rules} rule files found")), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn amtool_accepts_the_routing() -> anyhow::Result<()> {
    let file = deploy().join("alertmanager/alertmanager.yml");
    let checked = said("amtool", &["check-config"], std::slice::from_ref(&file))?;
    for found in ["5 inhibit rules", "1 receivers", "1 templates"] {
        assert!(checked.contains(found), "{checked}");
    }
    let option = format!("--config.file={}", file.display());
    for severity in ["critical", "warning"] {
        let label = format!("severity={severity}");
        let receiver = said("amtool", &["config", "routes", "test", &option, &label], &[])?;
        assert_eq!(receiver.trim(), "slack", "{severity}");
    }
    // The same alert at most once in 10 minutes, and its end.
    let text = fs::read_to_string(&file)?;
    for setting in ["group_interval: 10m", "send_resolved: true"] {
        assert_eq!(text.matches(setting).count(), 1, "{setting}");
    }
    Ok(())
}

#[test]
fn a_message_says_what_to_do_and_calls_nobody() -> anyhow::Result<()> {
    let alert = |status: &str, summary: &str| {
        serde_json::json!({
            "status": status,
            "annotations": { "summary": summary, "description": "It is so.", "action": "Do this." },
            "startsAt": "2026-01-02T03:04:05Z",
            "endsAt": "2026-01-02T03:06:07Z",
            "generatorURL": "http://prometheus/graph",
        })
    };
    let data = |status: &str, alerts: &[serde_json::Value]| {
        serde_json::json!({
            "receiver": "slack",
            "status": status,
            "externalURL": "http://alertmanager",
            "groupLabels": { "alertname": "Large", "instance": "node-1" },
            "commonLabels": { "severity": "critical" },
            "alerts": alerts,
        })
    };
    let file = tempfile::NamedTempFile::new()?;
    let templates = format!("--template.glob={}/alertmanager/templates/*.tmpl", deploy().display());
    let source = format!("--template.data={}", file.path().display());
    let render = |data: &serde_json::Value| -> anyhow::Result<[String; 3]> {
        fs::write(file.path(), data.to_string())?;
        let part = |name: &str| {
            let template = format!("--template.text={{{{ template \"observer.{name}\" . }}}}");
            said("amtool", &["template", "render", &templates, &source, &template], &[])
        };
        Ok([part("color")?, part("title")?, part("text")?].map(|text| text.trim_end_matches('\n').to_owned()))
    };

    let over = alert("resolved", "b is over");
    let [color, title, text] = render(&data("firing", &[alert("firing", "<!channel> & co"), over.clone()]))?;
    assert_eq!([&*color, &*title], ["danger", "CRITICAL Large on node-1"]);
    assert_eq!(
        text,
        "*&lt;!channel&gt; &amp; co*\nIt is so.\n*First:* Do this.\n\
         since 2026-01-02 03:04:05 UTC · <http://prometheus/graph|graph>\n\n\
         Over: b is over (03:04:05 to 03:06:07 UTC)"
    );
    let [color, title, text] = render(&data("resolved", &[over]))?;
    assert_eq!([&*color, &*title], ["good", "RESOLVED Large on node-1"]);
    assert_eq!(text, "Over: b is over (03:04:05 to 03:06:07 UTC)");
    Ok(())
}

#[test]
fn rules_speak_of_what_is_exported_and_documented() -> anyhow::Result<()> {
    let rules = all_rules()?;
    let exported = rules::exported::metrics();
    assert_eq!(rules::unknown(&rules, &exported)?, [""; 0], "as the agent exports it");
    let listed = rules::listed(&fs::read_to_string(deploy().join("../docs/metrics.md"))?);
    assert_eq!(rules::unknown(&rules, &listed)?, [""; 0], "as docs/metrics.md lists it");
    let names = |metrics: &rules::Metrics| -> BTreeSet<String> {
        let families = metrics.keys().map(|name| name.trim_end_matches("_bucket"));
        let families = families.filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"));
        families.map(str::to_owned).collect()
    };
    assert_eq!(names(&listed), names(&exported), "docs/metrics.md lists what there is, and nothing else");

    // A family that is called something else, or loses a label that a rule needs, is found.
    let mut families = BTreeSet::new();
    for Rule { names, .. } in &rules {
        for (name, matchers) in &names.selectors {
            let Some(labels) = exported.get(name) else { continue };
            families.insert(name);
            let mut renamed = exported.clone();
            renamed.remove(name);
            assert!(!rules::unknown(&rules, &renamed)?.is_empty(), "without {name}");
            for label in matchers.iter().chain(&names.grouping).filter(|label| labels.contains(*label)) {
                let mut without = exported.clone();
                without.entry(name.clone()).or_default().remove(label);
                assert!(!rules::unknown(&rules, &without)?.is_empty(), "{name} without {label}");
            }
        }
    }
    let families = families.len();
    assert!(families > 10, "{families}");
    Ok(())
}
