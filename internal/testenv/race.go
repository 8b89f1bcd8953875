//go:build race

package registrytest

// raceDetector says that everything takes some times as much memory.
const raceDetector = true
