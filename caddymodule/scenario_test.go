package caddymodule

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// scenarioEnv names the script that a test binary plays in its own process.
const scenarioEnv = "PULLGATE_SCENARIO"

// TestScenarios plays the scripts in testdata/scenarios, each in a process of its own,
// since there is one Caddy in a process. README.md there tells how they are written.
// With -v it prints what became of each row of rows.txt. To play one script or
// row: -run TestScenarios/U07.
func TestScenarios(t *testing.T) {
	own := os.Getenv(scenarioEnv)
	if own == "" {
		t.Parallel()
	}
	rows := readRows(t)
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if began := time.Now(); own == "" {
		t.Cleanup(func() { // after the scripts
			rows.check(t)
			t.Logf("in %.1f s\n%s", time.Since(began).Seconds(), rows)
		})
	}
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
		t.Run(name, func(t *testing.T) {
			if own == name {
				newScenario(t, sc).play()
				return
			}
			t.Parallel()
			playInProcess(t, name, sc, rows)
		})
	}
}

// playInProcess plays a script in a process of its own, and repeats for each row what
// became of it there.
func playInProcess(t *testing.T, name string, sc *script, rows scenarioRows) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := "^TestScenarios$/^" + regexp.QuoteMeta(name) + "$"
	if asked := strings.SplitN(flag.Lookup("test.run").Value.String(), "/", 3); len(asked) == 3 {
		pattern += "/" + asked[2]
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run", pattern, "-test.v")
	cmd.Env = append(os.Environ(), scenarioEnv+"="+name)
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, printed)
	}
	for _, section := range sc.rows {
		t.Run(section.row, func(t *testing.T) {
			passed := bytes.Contains(printed, []byte("--- PASS: TestScenarios/"+name+"/"+section.row+" ("))
			if !passed {
				t.Error("it has not passed")
			}
			if row := rows.find(section.row); row != nil {
				row.ended(passed)
			}
		})
	}
}

// play plays all rows of the script, each as a test of its own.
func (s *scenario) play() {
	s.do(s.script.setup)
	for _, section := range s.script.rows {
		s.t.Run(section.row, func(t *testing.T) {
			outer := s.t
			defer func() { s.setTest(outer) }()
			s.setTest(t)
			s.mark()
			s.asserted = false
			s.do(section.commands)
			s.finishRow()
		})
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
		"resume":  (*scenario).cmdResume,
		"leave":   (*scenario).cmdLeave,
		"user":    (*scenario).cmdUser,
		// What has to follow.
		"step":     (*scenario).cmdStep,
		"expect":   (*scenario).cmdExpect,
		"seen":     (*scenario).cmdSeen,
		"await":    (*scenario).cmdAwait,
		"asking":   (*scenario).cmdAsking,
		"connects": (*scenario).cmdConnects,
		"logged":   (*scenario).cmdLogged,
		"counted":  (*scenario).cmdCounted,
		"stored":   (*scenario).cmdStored,
		"idle":     (*scenario).cmdIdle,
		"sleep":    (*scenario).cmdSleep,
	}
}
