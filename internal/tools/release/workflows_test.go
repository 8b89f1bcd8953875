package release

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

// workflows returns those of the repository by the names of their files.
func workflows(t *testing.T) map[string]*actionlint.Workflow {
	t.Helper()
	all := map[string]*actionlint.Workflow{}
	files, err := filepath.Glob(filepath.Join(repository(), ".github/workflows/*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %q (%v)", files, err)
	}
	for _, file := range files {
		w, errs := actionlint.Parse([]byte(read(t, file)))
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		all[filepath.Base(file)] = w
	}
	return all
}

// TestWorkflowsLint has actionlint look at them: keys, expressions, inputs of actions, labels
// of runners, and which job needs which.
func TestWorkflowsLint(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.LintDir(filepath.Join(repository(), ".github/workflows"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		t.Error(e)
	}
}

// permitted is what jobs may do beyond reading the repository, by workflow and job.
var permitted = map[string]map[string]string{
	"release.yml publish": {"contents": "write", "packages": "write", "id-token": "write", "attestations": "write"},
}

// TestWorkflowsArePermittedLittle: what may write runs none of the code of the repository.
func TestWorkflowsArePermittedLittle(t *testing.T) {
	scopes := func(p *actionlint.Permissions) map[string]string {
		if p == nil {
			return nil
		}
		if p.All != nil {
			return map[string]string{"all": p.All.Value}
		}
		all := map[string]string{}
		for name, scope := range p.Scopes {
			all[name] = scope.Value.Value
		}
		return all
	}
	for file, w := range workflows(t) {
		if got := scopes(w.Permissions); !maps.Equal(got, map[string]string{"contents": "read"}) {
			t.Errorf("%s has the permissions %v", file, got)
		}
		for id, job := range w.Jobs {
			want := permitted[file+" "+id]
			if got := scopes(job.Permissions); !maps.Equal(got, want) {
				t.Errorf("%s: %s has the permissions %v, want %v", file, id, got, want)
			}
			for _, step := range job.Steps {
				if script, ok := step.Exec.(*actionlint.ExecRun); ok && want != nil && regexp.MustCompile(`\bmake |\.ci/|\bgo `).MatchString(script.Run.Value) {
					t.Errorf("%s: %s may write, and runs %q", file, id, script.Run.Value)
				}
			}
		}
	}
}

var (
	pinned = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	// A person and Dependabot read the version in a comment.
	versioned = regexp.MustCompile(`(?m)^\s*- uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// TestWorkflowsUsePinnedActions: a tag can be moved, a commit cannot.
func TestWorkflowsUsePinnedActions(t *testing.T) {
	for file, w := range workflows(t) {
		used := 0
		for id, job := range w.Jobs {
			if job.WorkflowCall != nil {
				if called, ours := strings.CutPrefix(job.WorkflowCall.Uses.Value, "./"); !ours || !exists(called) {
					t.Errorf("%s: %s calls %s", file, id, job.WorkflowCall.Uses.Value)
				}
				continue
			}
			if job.TimeoutMinutes == nil {
				t.Errorf("%s: %s has no timeout", file, id)
			}
			for _, step := range job.Steps {
				action, ok := step.Exec.(*actionlint.ExecAction)
				if !ok {
					continue
				}
				if used++; !pinned.MatchString(action.Uses.Value) {
					t.Errorf("%s: %s uses %s, which is no commit", file, id, action.Uses.Value)
				}
				if keep := action.Inputs["persist-credentials"]; strings.HasPrefix(action.Uses.Value, "actions/checkout@") && (keep == nil || keep.Value.Value != "false") {
					t.Errorf("%s: %s leaves its token in the checkout", file, id)
				}
			}
		}
		if said := len(versioned.FindAllString(read(t, filepath.Join(repository(), ".github/workflows", file)), -1)); said != used {
			t.Errorf("%s: %d of %d actions have their version beside them", file, said, used)
		}
	}
}

// TestWorkflowsNameWhatExists: the files and targets of make that steps name are there, or a
// release makes them.
func TestWorkflowsNameWhatExists(t *testing.T) {
	_, declared, _ := strings.Cut(read(t, filepath.Join(repository(), "Makefile")), "\n.PHONY: ")
	declared, _, _ = strings.Cut(declared, "\n")
	targets := strings.Fields(declared)
	checked := map[string]bool{}
	there := func(where, word string) {
		word = strings.Trim(word, `"'`)
		checked[word] = true
		if made, ok := strings.CutPrefix(word, "dist/release"); ok {
			if found, err := filepath.Glob(filepath.Join(built(t), made)); err != nil || len(found) == 0 {
				t.Errorf("%s: no release makes %s (%v)", where, word, err)
			}
		} else if !exists(word) {
			t.Errorf("%s: there is no %s", where, word)
		}
	}
	image := regexp.MustCompile(`golang:\S+`).FindString(read(t, filepath.Join(repository(), "deploy/docker/Dockerfile")))
	for file, w := range workflows(t) {
		for id, job := range w.Jobs {
			if job.Container != nil && job.Container.Image.Value != image {
				t.Errorf("%s: %s runs in %s, and the Dockerfile begins with %s", file, id, job.Container.Image.Value, image)
			}
			for _, step := range job.Steps {
				where := file + ": " + id
				switch exec := step.Exec.(type) {
				case *actionlint.ExecAction:
					for name, input := range exec.Inputs {
						if slices.Contains([]string{"path", "file", "context", "subject-checksums", "go-version-file"}, name) {
							there(where, input.Value.Value)
						}
					}
				case *actionlint.ExecRun:
					if strings.Contains(exec.Run.Value, "${{") {
						t.Errorf("%s: an expression becomes part of the script %q; an environment variable does not", where, exec.Run.Value)
					}
					words := strings.Fields(exec.Run.Value)
					for n, word := range words {
						if n > 0 && words[n-1] == "make" {
							if checked["make "+word] = true; !slices.Contains(targets, word) {
								t.Errorf("%s: make has no target %s", where, word)
							}
						}
						if strings.Contains(word, "/") && !strings.Contains(word, "://") {
							there(where, word)
						}
					}
				}
			}
		}
	}
	for _, want := range []string{".ci/run", "make release", "make release-test", "make vuln", "deploy/docker/Dockerfile", "dist/release/*"} {
		if !checked[want] {
			t.Errorf("no workflow has %s: it is not looked at", want)
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(repository(), name))
	return err == nil
}
