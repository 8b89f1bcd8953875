package caddymodule

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// scenarioRow is one row of the specification: a fault, and what has to follow.
type scenarioRow struct {
	name, what string
	// remark says who proves the row, besides or in place of a script ("by TestX in
	// folder", "as U07"), or why there is nothing to prove ("n/a: reason"), or why nothing does ("open: reason").
	remark   string
	scripted bool

	mu     sync.Mutex // scripts are played in parallel
	result string     // of its scripts so far
}

// ended notes the result of one script of the row.
func (r *scenarioRow) ended(passed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !passed:
		r.result = "FAIL"
	case r.result == "":
		r.result = "pass"
	}
}

type scenarioRows []*scenarioRow

func (rows scenarioRows) find(name string) *scenarioRow {
	if i := slices.IndexFunc(rows, func(r *scenarioRow) bool { return r.name == name }); i >= 0 {
		return rows[i]
	}
	return nil
}

// readRows reads rows.txt: name, what, and perhaps a remark, between bars.
func readRows(t *testing.T) (rows scenarioRows) {
	t.Helper()
	raw, err := os.ReadFile("testdata/scenarios/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(raw), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, "|")
		if len(fields) < 2 || len(fields) > 3 || rows.find(strings.TrimSpace(fields[0])) != nil {
			t.Fatalf("rows.txt:%d: want name | what | remark, and each name once", i+1)
		}
		row := &scenarioRow{name: strings.TrimSpace(fields[0]), what: strings.TrimSpace(fields[1])}
		if len(fields) == 3 {
			row.remark = strings.TrimSpace(fields[2])
		}
		rows = append(rows, row)
	}
	return rows
}

var provenBy = regexp.MustCompile(`^by (Test\w+) in ([\w/.]+)(?:, |$)`)

// check fails for rows that nobody proves.
func (rows scenarioRows) check(t *testing.T) {
	t.Helper()
	for _, row := range rows {
		if row.scripted && row.result == "" {
			row.result = "not run" // -run says so
		}
	}
	for _, row := range rows {
		switch {
		case row.remark == "" && !row.scripted:
			t.Errorf("row %s (%s) has neither a script nor a remark", row.name, row.what)
		case strings.HasPrefix(row.remark, "by "):
			if !row.scripted {
				row.result = row.remark
			}
			for rest := row.remark; rest != ""; {
				match := provenBy.FindStringSubmatch(rest)
				if match == nil {
					t.Errorf("row %s: %q does not read: by TestX in folder, by TestY in folder", row.name, row.remark)
					break
				}
				if !testExists(t, match[2], match[1]) {
					t.Errorf("row %s: there is no %s in %s", row.name, match[1], match[2])
				}
				rest = rest[len(match[0]):]
			}
		case strings.HasPrefix(row.remark, "as "):
			for name := range strings.SplitSeq(strings.TrimPrefix(row.remark, "as "), ", ") {
				other := rows.find(name)
				if other == nil || !other.scripted {
					t.Errorf("row %s: there is no script of row %s", row.name, name)
				} else if row.result == "" || other.result != "pass" {
					row.result = other.result
				}
			}
		case row.remark != "":
			row.result = row.remark
			if !strings.HasPrefix(row.remark, "n/a: ") && !strings.HasPrefix(row.remark, "open: ") {
				t.Errorf("row %s: remark %q begins with none of by, as, n/a, open", row.name, row.remark)
			}
		}
	}
}

// testExists looks for a test function in a folder of the repository.
func testExists(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), "func "+name+"(") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, raw, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == name {
				return true
			}
		}
	}
	return false
}

// String is the table, and its sum.
func (rows scenarioRows) String() string {
	var table strings.Builder
	count := map[string]int{}
	for _, row := range rows {
		fmt.Fprintf(&table, "%-6s %-9s %s\n", row.name, shortResult(row.result), row.what)
		if row.remark != "" {
			fmt.Fprintf(&table, "%16s %s\n", "", row.remark)
		}
		count[shortResult(row.result)]++
	}
	fmt.Fprintf(&table, "scenarios: %d rows: %d pass, %d by other tests, %d not applicable, %d open, %d failed, %d not run",
		len(rows), count["pass"], count["by test"], count["n/a"], count["open"], count["FAIL"], count["not run"])
	return table.String()
}

func shortResult(result string) string {
	switch {
	case strings.HasPrefix(result, "by "):
		return "by test"
	case strings.HasPrefix(result, "n/a"):
		return "n/a"
	case strings.HasPrefix(result, "open"):
		return "open"
	}
	return result
}
