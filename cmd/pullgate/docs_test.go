package main

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pullgate": main})
}

// root is that of the repository.
const root = "../.."

// block is a fenced block, or a command in a sentence.
type block struct {
	where    string // file:line
	language string
	text     string
}

// pages returns the documents for people.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".github", "bin", "dist", "testdata"}, entry.Name()):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".md"):
			return nil
		}
		raw, err := os.ReadFile(name)
		found[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 10 {
		t.Fatalf("found only %d documents", len(found))
	}
	return found
}

// blocks returns the fenced blocks of all documents that are in one of the languages.
func blocks(t *testing.T, languages ...string) []block {
	t.Helper()
	var found []block
	for name, text := range pages(t) {
		var current *block
		number := 0
		for line := range strings.Lines(text) {
			number++
			language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
			switch {
			case fence && current == nil:
				current = &block{where: position(name, number), language: language}
			case fence:
				if slices.Contains(languages, current.language) {
					found = append(found, *current)
				}
				current = nil
			case current != nil:
				current.text += line
			}
		}
		if current != nil {
			t.Errorf("%s: a block without end", current.where)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no block in %v", languages)
	}
	return found
}

// run runs the command, and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pullgate", args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		"HUB_USER=user", "HUB_TOKEN=token", "A_USER=user", "A_TOKEN=token")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestConfigurationsInDocs(t *testing.T) {
	for _, b := range blocks(t, "caddyfile", "json") {
		if b.language == "json" && !strings.Contains(b.text, `"apps"`) {
			continue // some client's
		}
		t.Run(b.where, func(t *testing.T) {
			t.Parallel()
			name, text, verb := "Caddyfile", b.text, "adapt"
			switch {
			case strings.HasPrefix(text, "upstream "):
				text = ":5000 {\nregistry_mirror {\n" + text + "}\n}\n"
			case b.language == "json":
				name, verb = "config.json", "validate"
				text = strings.ReplaceAll(text, "/var/lib/pullgate", t.TempDir())
			}
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := run(t, verb, "--config", file); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

var inline = regexp.MustCompile("`(pullgate [^`…<>\\[]+)`")

// Each command has the verbs and the flags that it is documented with.
func TestCommandsInDocs(t *testing.T) {
	commands := map[string]string{} // by the command, where it stands
	for _, b := range blocks(t, "sh") {
		for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, " #")
			for _, command := range regexp.MustCompile(`\||&&|;|&$`).Split(line, -1) {
				command, _, _ = strings.Cut(command, ">")
				if command = strings.TrimSpace(command); strings.HasPrefix(command, "pullgate ") {
					commands[command] = b.where
				}
			}
		}
	}
	for name, text := range pages(t) {
		for _, match := range inline.FindAllStringSubmatch(text, -1) {
			commands[match[1]] = name
		}
	}
	if len(commands) < 20 {
		t.Fatalf("only %d commands", len(commands))
	}
	for command, where := range commands {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(command))[1:]
			out, err := run(t, append(args, "--help")...)
			if err != nil {
				t.Errorf("%s: %v\n%s", where, err, out)
			}
			// Of an unknown verb, cobra shows the help of the one above.
			if len(args) > 1 && args[0] == "mirror" && strings.Contains(out, "Available Commands:") {
				t.Errorf("%s: there is no such verb", where)
			}
		})
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksInDocs(t *testing.T) {
	for name, text := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(name), match[1])
			if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s leads nowhere", name, match[1])
			}
		}
	}
}

var italics = regexp.MustCompile(`\*([^*]+)\*`)

// What the page of troubleshooting quotes, the code says.
func TestMessagesInDocs(t *testing.T) {
	var code bytes.Buffer
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(name)
		code.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	quotes := italics.FindAllStringSubmatch(strings.ReplaceAll(string(raw), "**", ""), -1)
	if len(quotes) < 10 {
		t.Fatalf("only %d quotes", len(quotes))
	}
	for _, quote := range quotes {
		if !strings.Contains(code.String(), quote[1]) {
			t.Errorf("no message says %q", quote[1])
		}
	}
}

// docs/commands.md is what --help prints.
func TestCommandReference(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Commands\n\nMade from `--help`: `go test ./cmd/pullgate -run CommandReference -update` writes this page.\n")
	help, err := run(t, "mirror", "--help")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		verb := strings.Fields(line)[0]
		out, err := run(t, "mirror", verb, "--help")
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		out, _, _ = strings.Cut(out, "\nFull documentation is available at:")
		page.WriteString("\n## pullgate mirror " + verb + "\n\n```text\n" + strings.TrimSpace(out) + "\n```\n")
	}
	file := filepath.Join(root, "docs", "commands.md")
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != page.String() {
		t.Error("docs/commands.md is not what --help prints; run this test with -update")
	}
}

func position(name string, line int) string {
	name, _ = filepath.Rel(root, name)
	return filepath.ToSlash(name) + ":" + strconv.Itoa(line)
}
