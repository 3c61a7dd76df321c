package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) groupsCommand() *cobra.Command {
	var reset string
	var drop, yes bool
	command := &cobra.Command{
		Use:   "groups [TABLE [GROUP]]",
		Short: "Show consumer groups: their members, and how far they lag; move their positions",
		Long: `Show consumer groups. Without a table, those of all tables; with a group, its members and where it stands in
each bucket. --reset moves its position: its members join again and go on from there.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			if len(args) < 2 {
				if drop || reset != "" {
					return usagef("--reset and --drop need a table and a group; usage: %s", command.UseLine())
				}
				return p.withClient(func(c *client) error { return p.groups(ctx, c, strings.Join(args, "")) })
			}
			group := groupName{Table: args[0], Group: args[1]}
			switch {
			case drop && reset != "":
				return usagef("--reset and --drop do not go together")
			case drop:
				return p.dropGroup(ctx, group, yes)
			case reset != "":
				return p.resetGroup(ctx, group, reset, yes)
			}
			return p.withClient(func(c *client) error { return p.group(ctx, c, group) })
		},
	}
	command.Flags().StringVar(&reset, "reset", "", "move the position: earliest, latest, a time, how long ago, or a position")
	command.Flags().BoolVar(&drop, "drop", false, "forget the group and its position")
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return command
}

// groupName is a group in a request.
type groupName struct {
	Table string `json:"table"`
	Group string `json:"group"`
}

// groupEntry is one group as "groups" and "status" show it.
type groupEntry struct {
	Group      string        `json:"group"`
	Table      string        `json:"table"`
	Generation int64         `json:"generation"`
	Lag        int64         `json:"lag"`
	Active     string        `json:"active"`
	Members    []memberEntry `json:"members"`
}

type memberEntry struct {
	Member     string  `json:"member"`
	Generation int64   `json:"generation"`
	SessionMS  int64   `json:"session_ms"`
	Seen       string  `json:"seen"`
	Buckets    []int32 `json:"buckets"`
	Waits      []int32 `json:"waits,omitempty"`
}

// listGroups gives the groups of the tables that match a pattern.
func (c *client) listGroups(ctx context.Context, table string) ([]groupEntry, error) {
	request := struct {
		Table string `json:"table,omitzero"`
	}{table}
	parts, err := c.actionAll(ctx, "ListGroups", request)
	if err != nil {
		return nil, err
	}
	groups := []groupEntry{}
	for _, part := range parts {
		var list struct {
			Groups []groupEntry `json:"groups"`
		}
		if err := json.Unmarshal(part, &list); err != nil {
			return nil, fmt.Errorf("reading the result of ListGroups: %w", err)
		}
		groups = append(groups, list.Groups...)
	}
	return groups, nil
}

func (p *program) groups(ctx context.Context, c *client, table string) error {
	groups, err := c.listGroups(ctx, table)
	if err != nil {
		return err
	}
	if p.json {
		for _, group := range groups {
			if err := printJSON(p.stdout, group); err != nil {
				return err
			}
		}
		return nil
	}
	if len(groups) == 0 {
		p.note("no groups")
		return nil
	}
	return p.printGroups(groups)
}

func (p *program) printGroups(groups []groupEntry) error {
	g := newGrid(p.stdout, "TABLE", "GROUP", "LAG", "MEMBERS", "GENERATION", "ACTIVE")
	for _, group := range groups {
		g.row(group.Table, group.Group, formatCount(group.Lag), formatCount(int64(len(group.Members))), formatCount(group.Generation), group.Active)
	}
	return g.flush()
}

// groupPositions is where a group stands.
type groupPositions struct {
	Group      string        `json:"group"`
	Table      string        `json:"table"`
	Generation int64         `json:"generation"`
	Lag        int64         `json:"lag"`
	Position   position      `json:"position"`
	Members    []memberEntry `json:"members"`
	Buckets    []groupBucket `json:"buckets"`
}

// groupBucket is where a group stands in a bucket; Committed is nil where it has no position.
type groupBucket struct {
	Bucket    int32  `json:"bucket"`
	Committed *int64 `json:"committed"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
}

// positions asks where a group stands.
func (c *client) positions(ctx context.Context, name groupName) (*groupPositions, error) {
	parts, err := c.actionAll(ctx, "Positions", name)
	if err != nil {
		return nil, err
	}
	all := &groupPositions{Position: position{Offsets: map[int32]int64{}}}
	for _, raw := range parts {
		var part groupPositions
		if err := json.Unmarshal(raw, &part); err != nil {
			return nil, fmt.Errorf("reading the result of Positions: %w", err)
		}
		all.Group, all.Table, all.Generation, all.Lag, all.Position.TableID = part.Group, part.Table, part.Generation, part.Lag, part.Position.TableID
		all.Buckets = append(all.Buckets, part.Buckets...)
		for bucket, offset := range part.Position.Offsets {
			all.Position.Offsets[bucket] = offset
		}
	}
	groups, err := c.listGroups(ctx, name.Table)
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		if group.Group == name.Group {
			all.Members = group.Members
		}
	}
	return all, nil
}

func (p *program) group(ctx context.Context, c *client, name groupName) error {
	at, err := c.positions(ctx, name)
	if err != nil {
		return err
	}
	if p.json {
		return printJSON(p.stdout, at)
	}
	g := newGrid(p.stdout)
	g.row("group", at.Group)
	g.row("table", at.Table)
	g.row("generation", formatCount(at.Generation))
	g.row("lag", formatCount(at.Lag))
	if err := g.flush(); err != nil {
		return err
	}
	if len(at.Members) > 0 {
		fmt.Fprintln(p.stdout)
		members := newGrid(p.stdout, "MEMBER", "SEEN", "SESSION", "BUCKETS", "WAITS FOR")
		for _, m := range at.Members {
			members.row(m.Member, m.Seen, (time.Duration(m.SessionMS) * time.Millisecond).String(), formatBuckets(m.Buckets), formatBuckets(m.Waits))
		}
		if err := members.flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(p.stdout)
	buckets := newGrid(p.stdout, "BUCKET", "COMMITTED", "END", "LAG", "MEMBER")
	for _, b := range at.Buckets {
		committed := ""
		if b.Committed != nil {
			committed = formatCount(*b.Committed)
		}
		buckets.row(formatCount(int64(b.Bucket)), committed, formatCount(b.End), formatCount(b.Lag), b.Member)
	}
	return buckets.flush()
}

// formatBuckets writes numbers of buckets, neighbours as a range: 0-3, 7.
func formatBuckets(buckets []int32) string {
	var parts []string
	for from := 0; from < len(buckets); {
		to := from + 1
		for to < len(buckets) && buckets[to] == buckets[to-1]+1 {
			to++
		}
		text := strconv.Itoa(int(buckets[from]))
		if to-from > 1 {
			text += "-" + strconv.Itoa(int(buckets[to-1]))
		}
		parts = append(parts, text)
		from = to
	}
	return strings.Join(parts, ", ")
}

func (p *program) resetGroup(ctx context.Context, name groupName, to string, yes bool) error {
	bound, err := parseBound("reset", to, time.Now(), "earliest", "latest")
	if err != nil {
		return err
	}
	if err := p.confirm(yes, fmt.Sprintf("Move the position of the group %s of %s to %s? Where it stands is forgotten.", name.Group, name.Table, to)); err != nil {
		return err
	}
	request := struct {
		groupName
		Position any `json:"position"`
	}{name, bound}
	return p.withClient(func(c *client) error {
		var result struct {
			Position position `json:"position"`
		}
		if err := c.action(ctx, "ResetPosition", request, &result); err != nil {
			return err
		}
		if p.json {
			return printJSON(p.stdout, result)
		}
		return p.group(ctx, c, name)
	})
}

func (p *program) dropGroup(ctx context.Context, name groupName, yes bool) error {
	if err := p.confirm(yes, fmt.Sprintf("Forget the group %s of %s and its position?", name.Group, name.Table)); err != nil {
		return err
	}
	return p.withClient(func(c *client) error {
		if err := c.action(ctx, "DropGroup", name, nil); err != nil {
			return err
		}
		p.note("group %s of %s dropped", name.Group, name.Table)
		return nil
	})
}

// laggingGroups gives the groups that lag most, for "status".
func laggingGroups(groups []groupEntry, most int) []groupEntry {
	sorted := slices.Clone(groups)
	slices.SortStableFunc(sorted, func(a, b groupEntry) int { return int(min(max(b.Lag-a.Lag, -1), 1)) })
	return sorted[:min(len(sorted), most)]
}
