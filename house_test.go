package pullgate_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestFilesAreShort(t *testing.T) {
	for _, file := range sourceFiles(t) {
		if file.lines > 400 {
			t.Errorf("%s has %d lines, and 400 is the limit", file.path, file.lines)
		}
	}
}

// What is larger than this is more than one thing.
const (
	maxMethods      = 25
	maxFields       = 15
	maxPackageLines = 4000
	maxModuleLines  = 3000 // of caddymodule itself
)

func TestTypesAreSmall(t *testing.T) {
	methods := map[string]int{} // by folder and type
	for _, file := range sourceFiles(t) {
		if file.test || internalTools(file.folder) {
			continue
		}
		parsed := parsedFile(t, file.path)
		for _, declaration := range parsed.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[file.folder+"."+receiverOf(f)]++
			}
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			declared, ok := node.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if of, ok := declared.Type.(*ast.StructType); ok && of.Fields.NumFields() > maxFields {
				t.Errorf("%s: %s has %d fields, and %d is the limit", file.path, declared.Name, of.Fields.NumFields(), maxFields)
			}
			return true
		})
	}
	for name, count := range methods {
		if count > maxMethods {
			t.Errorf("%s has %d methods, and %d is the limit", name, count, maxMethods)
		}
	}
}

func TestPackagesAreSmall(t *testing.T) {
	lines := map[string]int{}
	for _, file := range sourceFiles(t) {
		if !file.test && !internalTools(file.folder) {
			lines[file.folder] += file.lines
		}
	}
	for folder, count := range lines {
		limit := maxPackageLines
		if folder == "caddymodule" {
			limit = maxModuleLines
		}
		if count > limit {
			t.Errorf("%s has %d lines without its tests, and %d is the limit", folder, count, limit)
		}
	}
}

var walked = regexp.MustCompile("^- `([a-z/_]+\\.go)`: (.*)$")

// The walks of the design lead through files and functions that there are, and to no
// file twice.
func TestWalksExist(t *testing.T) {
	_, walks, _ := strings.Cut(string(readFile(t, "docs/design.md")), "\n## Walks\n")
	walks, _, _ = strings.Cut(walks, "\n## ")
	steps, visited := 0, map[string]bool{}
	for line := range strings.Lines(walks) {
		if strings.HasPrefix(line, "**") {
			clear(visited)
		}
		match := walked.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		if visited[match[1]] {
			t.Errorf("a walk comes back to %s", match[1])
		}
		visited[match[1]] = true
		declared := functionsOf(t, match[1])
		for name := range strings.SplitSeq(match[2], ", ") {
			if steps++; !slices.Contains(declared, strings.Trim(name, "`")) {
				t.Errorf("%s has no %s", match[1], name)
			}
		}
	}
	if steps < 40 {
		t.Errorf("only %d steps", steps)
	}
}

// functionsOf returns the functions of a file, methods as Type.Method.
func functionsOf(t *testing.T, file string) []string {
	t.Helper()
	var names []string
	for _, declaration := range parsedFile(t, file).Decls {
		f, ok := declaration.(*ast.FuncDecl)
		switch {
		case ok && f.Recv != nil:
			names = append(names, receiverOf(f)+"."+f.Name.Name)
		case ok:
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// receiverOf returns the name of the type that a method belongs to.
func receiverOf(f *ast.FuncDecl) string {
	of := f.Recv.List[0].Type
	for {
		switch inner := of.(type) {
		case *ast.StarExpr:
			of = inner.X
		case *ast.IndexExpr: // of a generic type
			of = inner.X
		case *ast.IndexListExpr:
			of = inner.X
		case *ast.Ident:
			return inner.Name
		default:
			return ""
		}
	}
}

func parsedFile(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
