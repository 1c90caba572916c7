package sys

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// ReadMemory says how much memory there is.
func ReadMemory() (Memory, error) { return readMemory(os.DirFS("/")) }

// ReadCPU says what there is to compute on. What cannot be found out is taken from the Go runtime.
func ReadCPU() CPU { return readCPU(os.DirFS("/"), logical()) }

// ReadUsage says how much memory this process takes.
func ReadUsage() (Usage, error) { return readUsage(os.DirFS("/")) }

// readMemory reads /proc/meminfo, and the limits of the control groups around the process.
func readMemory(root fs.FS) (Memory, error) {
	info, err := keyed(root, "proc/meminfo")
	if err != nil {
		return Memory{}, fmt.Errorf("sys: read the machine's memory: %w", err)
	}
	m := Memory{Total: info["MemTotal:"] << 10, Available: info["MemAvailable:"] << 10}
	if m.Total == 0 {
		return Memory{}, fmt.Errorf("sys: read the machine's memory: no MemTotal in /proc/meminfo")
	}
	for _, g := range groups(root, "memory") {
		limit, ok := number(root, g.file("memory.max", "memory.limit_in_bytes"))
		if !ok || limit <= 0 || limit >= m.Total {
			continue // "max", or a number that means no limit
		}
		used, _ := number(root, g.file("memory.current", "memory.usage_in_bytes"))
		// Pages of files that nobody maps or writes are given back when memory is short.
		stat, _ := keyed(root, path.Join(g.dir, "memory.stat"))
		used -= max(stat["inactive_file"], stat["total_inactive_file"])
		if m.Limit == 0 || limit < m.Limit {
			m.Limit = limit
		}
		m.Available = min(m.Available, max(limit-max(used, 0), 0))
	}
	return m, nil
}

func readCPU(root fs.FS, logical int) CPU {
	c := CPU{Logical: logical, Physical: logical}
	allowed, err := keyedText(root, "proc/self/status", "Cpus_allowed_list:")
	if cores := cores(root, allowed); err == nil && cores > 0 {
		c.Physical = min(cores, logical)
	}
	for _, g := range groups(root, "cpu") {
		quota := math.Inf(1)
		if g.unified {
			b, _ := fs.ReadFile(root, path.Join(g.dir, "cpu.max"))
			if f := strings.Fields(string(b)); len(f) == 2 {
				q, err1 := strconv.ParseFloat(f[0], 64)
				period, err2 := strconv.ParseFloat(f[1], 64)
				if err1 == nil && err2 == nil && period > 0 {
					quota = q / period
				}
			}
		} else {
			q, ok1 := number(root, path.Join(g.dir, "cpu.cfs_quota_us"))
			period, ok2 := number(root, path.Join(g.dir, "cpu.cfs_period_us"))
			if ok1 && ok2 && q > 0 && period > 0 {
				quota = float64(q) / float64(period)
			}
		}
		if !math.IsInf(quota, 0) && quota > 0 && (c.Quota == 0 || quota < c.Quota) {
			c.Quota = quota
		}
	}
	return c
}

// cores counts the physical cores among the processors of a list such as "0-3,8".
func cores(root fs.FS, list string) int {
	seen := map[string]bool{}
	for _, part := range strings.Split(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		low, err := strconv.Atoi(from)
		high := low
		if isRange && err == nil {
			high, err = strconv.Atoi(to)
		}
		if err != nil || low < 0 || high-low > 1<<16 {
			return 0
		}
		for cpu := low; cpu <= high; cpu++ {
			dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology", cpu)
			siblings, err := fs.ReadFile(root, dir+"/thread_siblings_list")
			if err != nil {
				return 0
			}
			seen[strings.TrimSpace(string(siblings))] = true
		}
	}
	return len(seen)
}

// group is one control group of a controller.
type group struct {
	dir     string
	unified bool // version 2
}

func (g group) file(v2, v1 string) string {
	if g.unified {
		return path.Join(g.dir, v2)
	}
	return path.Join(g.dir, v1)
}

// groups lists the control groups of the process for one controller, from its own up to the root. Inside a container its
// own group is often what is mounted at the top, under a path that /proc still names in full: groups that are not there
// are simply skipped by the reader.
func groups(root fs.FS, controller string) []group {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var list []group
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		base, unified := "", f[1] == ""
		for _, c := range strings.Split(f[1], ",") {
			if c == controller {
				base = "sys/fs/cgroup/" + f[1]
				if _, err := fs.Stat(root, base); err != nil {
					base = "sys/fs/cgroup/" + controller
				}
			}
		}
		if unified {
			base = "sys/fs/cgroup"
		}
		if base == "" {
			continue
		}
		for at := path.Clean("/" + f[2]); ; at = path.Dir(at) {
			list = append(list, group{path.Join(base, at), unified})
			if at == "/" {
				break
			}
		}
	}
	return list
}

func readUsage(root fs.FS) (Usage, error) {
	status, err := keyed(root, "proc/self/status")
	if err != nil {
		return Usage{}, fmt.Errorf("sys: read this process's memory: %w", err)
	}
	return Usage{Resident: status["VmRSS:"] << 10, Peak: status["VmHWM:"] << 10}, nil
}

// keyed reads lines of a key and a number.
func keyed(root fs.FS, name string) (map[string]int64, error) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	m := map[string]int64{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) >= 2 {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				m[f[0]] = n
			}
		}
	}
	return m, nil
}

// keyedText is the rest of the line that begins with key.
func keyedText(root fs.FS, name, key string) (string, error) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", fmt.Errorf("sys: no %s in /%s", key, name)
}

// number reads a file that holds one number.
func number(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
