package caddymodule

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestScenarios plays the scripts in testdata/scenarios, one after another, since
// there is one Caddy in a process. README.md there tells how they are written.
// With -v it prints what became of each row of rows.txt. To play one script or
// row: -run TestScenarios/U07.
func TestScenarios(t *testing.T) {
	rows := readRows(t)
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, file := range files {
		if filepath.Base(file) == "rows.txt" {
			continue
		}
		sc, err := parseScript(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range sc.rows {
			row := rows.find(section.row)
			if row == nil || strings.HasPrefix(row.remark, "n/a") {
				t.Errorf("%s:%d: row %s is not in rows.txt, or not applicable there", file, section.line, section.row)
				continue
			}
			row.scripted = true
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) { newScenario(t, sc).play(rows) })
	}
	rows.check(t)
	t.Logf("in %.1f s\n%s", time.Since(began).Seconds(), rows)
}

// play plays all rows of the script, each as a test of its own.
func (s *scenario) play(rows scenarioRows) {
	s.do(s.script.setup)
	for _, section := range s.script.rows {
		passed := s.t.Run(section.row, func(t *testing.T) {
			outer := s.t
			defer func() { s.setTest(outer) }()
			s.setTest(t)
			s.mark()
			s.asserted = false
			s.do(section.commands)
			s.finishRow()
		})
		if row := rows.find(section.row); row != nil {
			row.ended(passed)
		}
	}
}

// do carries commands out. What fails does not return.
func (s *scenario) do(commands []instruction) {
	s.t.Helper()
	for _, c := range commands {
		s.at = c
		run, ok := scenarioCommands[c.words[0]]
		if !ok {
			s.fatalf("there is no command %q", c.words[0])
		}
		args := make([]string, 0, len(c.words))
		for _, word := range c.words[1:] {
			args = append(args, s.expand(word))
		}
		run(s, args)
	}
}

// scenarioCommands are the words that lines begin with.
var scenarioCommands map[string]func(*scenario, []string)

func init() {
	scenarioCommands = map[string]func(*scenario, []string){
		// What there is.
		"upstream": (*scenario).cmdUpstream,
		"in":       (*scenario).cmdIn,
		"image":    (*scenario).cmdImage,
		"blob":     (*scenario).cmdBlob,
		"manifest": (*scenario).cmdManifest,
		"tag":      (*scenario).cmdTag,
		"delete":   (*scenario).cmdDelete,
		"let":      (*scenario).cmdLet,
		"env":      (*scenario).cmdEnv,
		"global":   (*scenario).cmdGlobal,
		"gateway":  (*scenario).cmdGateway,
		"site":     (*scenario).cmdSite,
		"stop":     (*scenario).cmdStop,
		// What goes wrong.
		"on":       (*scenario).cmdOn,
		"off":      (*scenario).cmdOff,
		"down":     (*scenario).cmdDown,
		"up":       (*scenario).cmdUp,
		"release":  (*scenario).cmdRelease,
		"expire":   (*scenario).cmdExpire,
		"damage":   (*scenario).cmdDamage,
		"truncate": (*scenario).cmdTruncate,
		"remove":   (*scenario).cmdRemove,
		"jam":      (*scenario).cmdJam,
		"unjam":    (*scenario).cmdUnjam,
		"limit":    (*scenario).cmdLimit,
		// What clients do.
		"get":     (*scenario).cmdRequest,
		"head":    (*scenario).cmdRequest,
		"send":    (*scenario).cmdSend,
		"refused": (*scenario).cmdRefused,
		"raw":     (*scenario).cmdRaw,
		"pull":    (*scenario).cmdPull,
		"client":  (*scenario).cmdClient,
		"wait":    (*scenario).cmdWait,
		"busy":    (*scenario).cmdBusy,
		"leave":   (*scenario).cmdLeave,
		"user":    (*scenario).cmdUser,
		// What has to follow.
		"step":     (*scenario).cmdStep,
		"expect":   (*scenario).cmdExpect,
		"seen":     (*scenario).cmdSeen,
		"await":    (*scenario).cmdAwait,
		"connects": (*scenario).cmdConnects,
		"logged":   (*scenario).cmdLogged,
		"counted":  (*scenario).cmdCounted,
		"stored":   (*scenario).cmdStored,
		"idle":     (*scenario).cmdIdle,
		"sleep":    (*scenario).cmdSleep,
	}
}
