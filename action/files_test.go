// SPDX-License-Identifier: Apache-2.0

package action_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

type step struct {
	Name, ID, If, Shell, Run, Uses string
	Env, With                      map[string]string
}

type action struct {
	Name, Description, Author string
	Branding                  map[string]string
	Inputs                    map[string]struct {
		Description string
		Required    bool
		Default     *string
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []step
	}
}

// TestTheActionGivesInputsToScriptsAsVariablesOnly is why none of them can be executed: no
// expression is within a script, and each input is one variable.
func TestTheActionGivesInputsToScriptsAsVariablesOnly(t *testing.T) {
	t.Parallel()
	var a action
	readYAML(t, "action.yml", &a)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) != 2 {
		t.Fatalf("%s with %d steps", a.Runs.Using, len(a.Runs.Steps))
	}
	given := map[string]string{}
	for _, s := range a.Runs.Steps {
		if s.Shell != "bash" || strings.Contains(s.Run, "${{") || strings.Contains(s.If, "${{") {
			t.Errorf("the step %q has an expression in its script, or no shell", s.Name)
		}
		name := filepath.Base(strings.Trim(strings.Fields(s.Run)[1], `"`))
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for variable, value := range s.Env {
			given[value] = variable
			if !strings.Contains(string(script), variable) {
				t.Errorf("%s does not use %s", name, variable)
			}
		}
	}
	for name, input := range a.Inputs {
		if input.Description == "" || !input.Required && input.Default == nil {
			t.Errorf("the input %s has no description or no default", name)
		}
		want := "INPUT_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
		if given["${{ inputs."+name+" }}"] != want {
			t.Errorf("the input %s is not in a variable %s", name, want)
		}
	}
	if len(given) != len(a.Inputs) {
		t.Errorf("%d variables for %d inputs", len(given), len(a.Inputs))
	}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{keys(a.Inputs), keys(a.Outputs)} {
		for _, name := range names {
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("README.md does not have %s", name)
			}
		}
	}
}

func keys[V any](m map[string]V) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	return out
}

// TestTheExamplesUseTheActionAsItIs reads what actionlint can't: the action is in another repository.
func TestTheExamplesUseTheActionAsItIs(t *testing.T) {
	t.Parallel()
	var a action
	readYAML(t, "action.yml", &a)
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		var workflow struct {
			Name        string
			On          any
			Permissions map[string]string
			Concurrency any
			Jobs        map[string]struct {
				RunsOn      string `json:"runs-on"`
				Environment string
				Steps       []step
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &workflow); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		used := 0
		for _, job := range workflow.Jobs {
			for _, s := range job.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: the step %q has an expression in its script", file, s.Name)
				}
				if !strings.HasPrefix(s.Uses, "kustomizer/kustomizer/action@") {
					continue
				}
				used++
				for name, input := range a.Inputs {
					if input.Required && s.With[name] == "" {
						t.Errorf("%s: the input %s is missing", file, name)
					}
				}
				for name := range s.With {
					if _, known := a.Inputs[name]; !known {
						t.Errorf("%s: there is no input %s", file, name)
					}
				}
			}
		}
		if used != 1 || len(workflow.Permissions) == 0 {
			t.Errorf("%s uses the action %d times, with permissions %v", file, used, workflow.Permissions)
		}
	}
}

type gitlabJob struct {
	Image, Extends string
	Interruptible  *bool
	ResourceGroup  string `json:"resource_group"`
	Variables      map[string]string
	BeforeScript   []string `json:"before_script"`
	Script         []string
	Artifacts      struct {
		Paths   []string
		Reports map[string]string
	}
}

// gitlabTemplate returns the template's jobs and its variables.
func gitlabTemplate(t *testing.T) (map[string]gitlabJob, map[string]string) {
	t.Helper()
	var raw map[string]any
	readYAML(t, "../ci/gitlab/kustomizer.gitlab-ci.yml", &raw)
	jobs, variables := map[string]gitlabJob{}, map[string]string{}
	for name, content := range raw {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		var job gitlabJob
		into := any(&job)
		if name == "variables" {
			into = &variables
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "variables" {
			jobs[name] = job
		}
	}
	return jobs, variables
}

// TestTheGitLabTemplatePublishesPromotesAndCompares runs its jobs as a runner does: all lines in one shell.
func TestTheGitLabTemplatePublishesPromotesAndCompares(t *testing.T) {
	t.Parallel()
	r, registry := newRunner(t), testkit.MemRegistry(t)
	jobs, variables := gitlabTemplate(t)
	overlay := "resources: [manifest.yaml]\n"
	for name, content := range map[string]string{"kustomization.yaml": overlay, "manifest.yaml": manifest} {
		if err := os.WriteFile(r.file(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{
		"GITHUB_ACTIONS": "", "GITLAB_CI": "true", "CI_COMMIT_TIMESTAMP": "2026-01-02T03:04:05Z", "CI_COMMIT_SHA": strings.Repeat("a", 40),
		"KUSTOMIZER_DOWNLOAD_URL": r.url, "KUSTOMIZER_VERSION": version, "KUSTOMIZER_CHECKSUM": variables["KUSTOMIZER_CHECKSUM"],
	}
	run := func(name string, more map[string]string) (string, error) {
		job := jobs[name]
		lines := slices.Concat(jobs[job.Extends].BeforeScript, job.Script)
		all := map[string]string{}
		for _, from := range []map[string]string{job.Variables, env, more} {
			for name, value := range from {
				all[name] = value
			}
		}
		return r.step(t, all, "sh", "-c", strings.Join(lines, "\n"))
	}
	artifact := "oci://" + registry.Host + "/me/app"
	out, err := run(".kustomizer-publish", map[string]string{"KUSTOMIZER_ARTIFACT": artifact + ":1", "KUSTOMIZER_DIRECTORY": ".", "KUSTOMIZER_TAG": "main"})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dotenv := r.read(t, jobs[".kustomizer-publish"].Artifacts.Reports["dotenv"])
	digest, url := value(dotenv, "KUSTOMIZER_DIGEST"), value(dotenv, "KUSTOMIZER_URL")
	if !strings.HasPrefix(digest, "sha256:") || url != artifact+"@"+digest {
		t.Errorf("handed over: %s", dotenv)
	}
	if out, err := run(".kustomizer-promote", map[string]string{"KUSTOMIZER_URL": url}); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.WriteFile(r.file("manifest.yaml"), []byte(manifest+"data: {a: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compare := map[string]string{"KUSTOMIZER_ARTIFACT": artifact + ":stable", "KUSTOMIZER_DIRECTORY": "."}
	if out, err := run(".kustomizer-diff", compare); err != nil || !strings.Contains(r.read(t, "kustomizer.diff"), "+  a: b") {
		t.Errorf("%v: %s", err, out)
	}
	compare["KUSTOMIZER_DIRECTORY"] = "missing"
	if out, err := run(".kustomizer-diff", compare); err == nil {
		t.Errorf("an error was taken for a difference: %s", out)
	}
	called := r.read(t, "calls")
	for name, content := range r.files {
		if strings.HasSuffix(name, ".gz") {
			r.files[name] = append(content, 0)
		}
	}
	if out, err := run(".kustomizer-promote", map[string]string{"KUSTOMIZER_URL": url}); err == nil || r.read(t, "calls") != called {
		t.Errorf("another archive was run: %s", out)
	}
}

// value returns a variable of a dotenv file.
func value(text, name string) string {
	for line := range strings.Lines(text) {
		if found, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(found)
		}
	}
	return ""
}

// TestAReleaseHasTheFilesThatAreInstalled holds .goreleaser.yaml to the names that the scripts ask for.
// Whether GoReleaser takes it is checked by make release-snapshot.
func TestAReleaseHasTheFilesThatAreInstalled(t *testing.T) {
	t.Parallel()
	var release struct {
		ProjectName string `json:"project_name"`
		Builds      []struct {
			Env, Flags, Ldflags, Goos, Goarch []string
			Timestamp                         string `json:"mod_timestamp"`
		}
		Archives []struct {
			Name      string `json:"name_template"`
			Formats   []string
			Overrides []struct {
				Goos    string
				Formats []string
			} `json:"format_overrides"`
			Files []struct{ Src, Dst string }
		}
		Checksum struct {
			Name      string `json:"name_template"`
			Algorithm string
		}
		SBOMs []struct {
			Artifacts, Cmd string
			Documents      []string
		}
	}
	text, err := os.ReadFile("../.goreleaser.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &release)
	}
	if err != nil || len(release.Builds) != 1 || len(release.Archives) != 1 || len(release.SBOMs) != 1 {
		t.Fatalf("%v %+v", err, release)
	}
	build, archive := release.Builds[0], release.Archives[0]
	name := strings.NewReplacer("{{ .Version }}", version, "{{ .Os }}", "linux", "{{ .Arch }}", "amd64").Replace
	r := newRunner(t)
	for _, file := range []string{name(archive.Name) + "." + archive.Formats[0], name(release.Checksum.Name)} {
		if r.files[file] == nil {
			t.Errorf("what is installed has another name than %s", file)
		}
	}
	if len(archive.Overrides) != 1 || archive.Overrides[0].Goos != "windows" || !slices.Equal(archive.Overrides[0].Formats, []string{"zip"}) || release.Checksum.Algorithm != "sha256" {
		t.Errorf("what is installed has another form: %+v %+v", archive.Overrides, release.Checksum)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, system := range build.Goos {
		for _, arch := range build.Goarch {
			platforms = append(platforms, system+"/"+arch)
		}
	}
	if want := "PLATFORMS := " + strings.Join(platforms, " ") + "\n"; !strings.Contains(string(makefile), want) {
		t.Errorf("what make cross compiles is not %s", want)
	}
	if !slices.Contains(build.Env, "CGO_ENABLED=0") || !slices.Contains(build.Flags, "-trimpath") || build.Timestamp != "{{ .CommitTimestamp }}" {
		t.Errorf("the build is not the same everywhere: %+v", build)
	}
	var packed []string
	for _, file := range archive.Files {
		packed = append(packed, file.Src)
	}
	if want := []string{"LICENSE", "README.md", ".release/completion/*", ".release/man/*.1"}; !slices.Equal(packed, want) {
		t.Errorf("archives hold %v, want %v", packed, want)
	}
}
