package pullgate_test

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const module = "github.com/pullgate/pullgate"

// imports lists, for each folder of the engine and above, which of the others
// its code may import. Tests may import more; see allowedInTests.
var imports = map[string][]string{
	"":             {"caddymodule", "caddymodule/credentials", "caddymodule/s3"},
	"cmd/pullgate": {""},
	"caddymodule": {
		"caddymodule/admin", "caddymodule/command", "caddymodule/config", "caddymodule/dashboard", "caddymodule/endpoint", "internal/bucket", "internal/fleet", "internal/fleet/peers", "internal/flood", "internal/history", "internal/image", "internal/listener", "internal/metrics",
		"internal/mirror", "internal/nearest", "internal/operate", "internal/pulls", "internal/registry", "internal/upstream", "storage", "internal/oci",
	},
	"caddymodule/admin": {"internal/bundle", "internal/operate"},
	"caddymodule/command": {
		"caddymodule/admin", "caddymodule/endpoint", "internal/bundle", "internal/carry", "internal/clientconfig", "internal/fleet", "internal/fleet/text", "internal/image", "internal/imagelist", "internal/listener", "internal/mirror", "internal/nearest",
		"internal/operate", "internal/spelling", "internal/terminal", "storage", "internal/oci",
	},
	"caddymodule/dashboard": {"internal/clientconfig", "internal/history", "internal/image", "internal/imagelist", "internal/operate", "storage", "internal/oci"},
	"caddymodule/endpoint":  {},
	"caddymodule/config": {
		"caddymodule/credentials", "internal/bucket", "internal/fleet/peers", "internal/mirror", "internal/nearest", "internal/operate", "internal/upstream", "storage", "internal/oci",
	},
	"internal/registry":          {"internal/nearest", "internal/oci"},
	"internal/mirror":            {"storage", "internal/fill", "internal/pace", "internal/known", "internal/taglist", "internal/oci"},
	"internal/fleet":             {"internal/bucket", "internal/fleet/account", "internal/fleet/caution", "internal/fleet/janitor", "internal/fleet/peers", "internal/mirror", "internal/fill", "storage", "internal/oci"},
	"internal/fleet/account":     {"internal/bucket", "internal/fleet/caution", "internal/fleet/janitor"},
	"internal/fleet/caution":     {},
	"internal/fleet/janitor":     {"internal/bucket", "internal/oci"},
	"internal/fleet/peers":       {"internal/registry", "internal/oci"},
	"internal/fleet/text":        {"internal/fleet", "internal/fleet/peers", "internal/terminal"},
	"internal/bucket":            {},
	"internal/bucket/s3client":   {"internal/bucket"},
	"internal/bucket/buckettest": {},
	"caddymodule/s3":             {"internal/bucket", "internal/bucket/s3client"},
	"internal/known":             {"internal/oci"},
	"internal/taglist":           {"internal/oci"},
	"internal/fill":              {"internal/pace", "internal/oci"},
	"internal/pace":              {"internal/oci"},
	"internal/upstream":          {"internal/flood", "internal/oci", "caddymodule/credentials"},
	"storage": {
		"storage/internal/eviction", "storage/internal/images", "storage/internal/index", "storage/internal/integrity",
		"storage/internal/life", "storage/internal/record", "storage/internal/volume", "internal/oci",
	},
	"storage/internal/eviction": {
		"storage/internal/images", "storage/internal/index", "storage/internal/integrity", "storage/internal/life",
		"storage/internal/volume", "internal/oci",
	},
	"storage/internal/images":    {"storage/internal/index", "storage/internal/life", "storage/internal/volume", "internal/oci"},
	"storage/internal/index":     {"storage/internal/life", "storage/internal/record", "storage/internal/volume", "internal/mapfault", "internal/oci"},
	"storage/internal/integrity": {"storage/internal/life", "storage/internal/volume", "internal/oci"},
	"storage/internal/life":      {},
	"storage/internal/record":    {},
	"storage/internal/volume":    {"storage/internal/record", "internal/oci"},

	"internal/upstream/internal/auth":   {"internal/upstream/internal/wire", "internal/upstream/internal/egress", "internal/upstream/internal/memo", "internal/oci", "caddymodule/credentials"},
	"caddymodule/credentials":           {"caddymodule/credentials"}, // what a source gives is all that the engine knows of caddymodule
	"internal/upstream/internal/wire":   {"internal/upstream/internal/egress", "internal/upstream/internal/panics", "internal/oci"},
	"internal/upstream/internal/egress": {"internal/upstream/internal/panics"},
	"internal/upstream/internal/memo":   {"internal/upstream/internal/panics"},
	"internal/upstream/internal/panics": {},
	"internal/oci":                      {},
	"internal/registrytest":             {"internal/freeport", "internal/oci"},
	"internal/flood":                    {},
	"internal/freeport":                 {},
	"internal/spelling":                 {"internal/nearest"},
	"internal/history":                  {},
	"internal/terminal":                 {},
	"internal/testenv":                  {},
	"internal/clientconfig":             {"internal/oci"},
	"internal/image":                    {"internal/imagelist", "internal/mirror", "internal/nearest", "storage", "internal/oci"},
	"internal/imagelist":                {"internal/oci"},
	"internal/listener":                 {},
	"internal/mapfault":                 {},
	"internal/metrics":                  {"internal/fleet", "internal/fleet/peers", "internal/mirror", "internal/operate", "internal/registry", "internal/upstream", "internal/oci"},
	"internal/nearest":                  {},
	"internal/pulls":                    {"internal/mirror", "internal/operate", "internal/registry", "internal/upstream", "internal/oci"},
	"internal/operate":                  {"internal/bundle", "internal/carry", "internal/fleet", "internal/fleet/peers", "internal/history", "internal/image", "internal/imagelist", "internal/mirror", "internal/nearest", "storage", "internal/oci"},
	"internal/bundle":                   {"internal/oci"},
	"internal/carry":                    {"internal/bundle", "internal/image", "internal/imagelist", "storage", "internal/oci"},
	"integration":                       {"caddymodule", "internal/registrytest", "internal/freeport", "internal/oci"},
	"integration/bench":                 {"internal/bucket/buckettest", "internal/freeport", "storage", "internal/oci"},
}

// owners lists the folders that alone may import a foundation, tests included
// except those in clientsOfTests.
var owners = map[string][]string{
	"github.com/dgraph-io/badger": {"storage/internal/index"},
	"github.com/caddyserver/caddy": {
		"", "cmd/pullgate", "caddymodule", "caddymodule/admin", "caddymodule/command", "caddymodule/config", "caddymodule/s3", "caddymodule/credentials",
		"caddymodule/dashboard", "caddymodule/endpoint", "integration",
	},
	"go.uber.org/zap":                            {"caddymodule", "caddymodule/admin", "caddymodule/command", "integration"},
	"github.com/prometheus/":                     {"internal/metrics", "integration"},
	"go.opentelemetry.io/otel/sdk":               {"caddymodule", "integration"},
	"github.com/google/go-containerregistry":     {"internal/upstream/internal/auth", "caddymodule/credentials"},
	"github.com/aws/":                            {"caddymodule/credentials", "internal/bucket/s3client"},
	"github.com/aws/aws-sdk-go-v2/service/s3":    {"internal/bucket/s3client"},
	"github.com/chromedp/":                       {"integration"},
	"github.com/containerd/":                     {"integration"},
	"github.com/rogpeppe/go-internal/testscript": {"caddymodule", "cmd/pullgate", "integration"},
}

// clientsOfTests are the foundations that any test may use: to pull, and to see
// the spans.
var clientsOfTests = []string{"github.com/google/go-containerregistry", "go.opentelemetry.io/otel/sdk"}

// sourceFile is one Go file of the module.
type sourceFile struct {
	path    string // with slashes, from the root of the repository
	folder  string // "" for the root
	test    bool
	lines   int
	imports []string
}

func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "dist", "testdata"}, entry.Name()) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, raw, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		file := sourceFile{
			path: name, folder: strings.TrimPrefix(path.Dir(name), "."),
			test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(raw, []byte("\n")),
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			file.imports = append(file.imports, imported)
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files: this test has to run in the root of the repository", len(files))
	}
	return files
}

// internalTools is a module of its own, with its own dependencies.
func internalTools(folder string) bool {
	return strings.HasPrefix(folder, "internal/tools")
}

func TestImportsGoOneWay(t *testing.T) {
	for _, file := range sourceFiles(t) {
		if internalTools(file.folder) {
			continue
		}
		owner, known := ownerOf(file.folder)
		if !known {
			t.Errorf("%s: a folder without a rule; say in this test what it may import", file.path)
			continue
		}
		for _, imported := range file.imports {
			folder, ours := strings.CutPrefix(imported, module)
			folder = strings.TrimPrefix(folder, "/")
			if !ours || folder == file.folder || strings.HasPrefix(folder, owner+"/") && owner != "" {
				continue
			}
			if file.test && allowedInTests(file.folder, folder) {
				continue
			}
			if target, _ := ownerOf(folder); !slices.Contains(imports[owner], target) {
				t.Errorf("%s imports %s: not in the direction of imports", file.path, imported)
			}
		}
	}
}

// ownerOf returns the folder with a rule that a folder is, or lies in.
func ownerOf(folder string) (owner string, known bool) {
	for owner = folder; owner != "." && owner != ""; owner = path.Dir(owner) {
		if _, ok := imports[owner]; ok {
			return owner, true
		}
	}
	return "", folder == ""
}

// allowedInTests reports whether tests may import a folder that code may not:
// the fake registry, and for tests of the policy and above the parts that they
// are put together with.
func allowedInTests(from, folder string) bool {
	return slices.Contains([]string{"internal/registrytest", "internal/freeport", "internal/testenv", "internal/bucket/buckettest"}, folder) ||
		from == "caddymodule" && slices.Contains([]string{"internal/bundle", "internal/imagelist"}, folder) ||
		from == "caddymodule" && (strings.HasPrefix(folder, "caddymodule/credentials") || folder == "caddymodule/s3") ||
		strings.HasPrefix(from, "caddymodule/credentials/") && slices.Contains([]string{"internal/upstream", "internal/oci"}, folder) ||
		from == "internal/image" && folder == "internal/upstream" ||
		from == "internal/fleet" && slices.Contains([]string{"internal/upstream", "internal/registry", "internal/bucket/s3client"}, folder) ||
		from == "internal/fleet/text" && slices.Contains([]string{"internal/fleet/account", "internal/fleet/janitor"}, folder) ||
		from == "caddymodule/dashboard" && strings.HasPrefix(folder, "internal/fleet") ||
		from == "integration/fleet" && strings.HasPrefix(folder, "internal/bucket") ||
		from == "internal/mirror" && slices.Contains([]string{"internal/upstream", "internal/registry"}, folder) ||
		from == "internal/upstream" && slices.Contains([]string{"internal/mirror", "internal/registry", "storage"}, folder)
}

func TestFoundationsHaveOwners(t *testing.T) {
	for _, file := range sourceFiles(t) {
		if internalTools(file.folder) || file.path == "repository_test.go" {
			continue
		}
		owner, _ := ownerOf(file.folder)
		for _, imported := range file.imports {
			for foundation, folders := range owners {
				if !strings.HasPrefix(imported, foundation) || slices.Contains(folders, owner) {
					continue
				}
				if file.test && slices.Contains(clientsOfTests, foundation) {
					continue
				}
				t.Errorf("%s imports %s: only %q may", file.path, imported, folders)
			}
		}
	}
}

func TestRecipeMatchesModule(t *testing.T) {
	var recipe struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			ModulePath string `json:"module_path"`
		} `json:"plugins"`
	}
	decoder := json.NewDecoder(bytes.NewReader(readFile(t, "xcaddy.json")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&recipe); err != nil {
		t.Fatalf("decode xcaddy.json: %v", err)
	}
	if len(recipe.Plugins) != 1 || recipe.Plugins[0].ModulePath != module {
		t.Errorf("plugins of xcaddy.json = %+v, want only %s", recipe.Plugins, module)
	}
	// That of a test, with somebody else's module.
	if want := `"caddy_version": "` + recipe.CaddyVersion; !strings.Contains(string(readFile(t, "integration/testdata/source/xcaddy.json")), want) {
		t.Errorf("the recipe in integration/testdata/source has another version than %s", recipe.CaddyVersion)
	}
	goMod := string(readFile(t, "go.mod"))
	if !strings.HasPrefix(goMod, "module "+module+"\n") {
		t.Errorf("go.mod does not begin with module %s", module)
	}
	if want := "github.com/caddyserver/caddy/v2 " + recipe.CaddyVersion; !slices.ContainsFunc(strings.Split(goMod, "\n"), func(line string) bool {
		line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " //")
		return line == want
	}) {
		t.Errorf("go.mod does not require %q, the version of xcaddy.json", want)
	}
}

func TestExampleIsFormatted(t *testing.T) {
	raw := readFile(t, "Caddyfile.example")
	if formatted := caddyfile.Format(raw); !bytes.Equal(raw, formatted) {
		t.Errorf("Caddyfile.example is not formatted; run 'pullgate fmt --overwrite Caddyfile.example'. Want:\n%s", formatted)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
