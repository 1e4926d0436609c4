/*
 * Session tokens: a model of positions, for spin. src/seen/seen.c says in words what is modelled here.
 *
 * One origin writes ROWS rows to its outbox. Transactions get ids in order and commit in any order, or not
 * at all. The relay publishes to PARTS partitions, with numbers, makes marks, and tells positions. It may start again
 * at any time, and then sends what came after a mark again, under new numbers. The broker may lose all that it holds,
 * once. The region x receives. With READS a region y receives, too, and a client reads in y and then in x.
 *
 * What must hold:
 *   1  If x has reached a position, x has applied every committed row up to it, and no row up to it is committed later.
 *   2  If a client has read rows in y, and x has reached the position that covers them, x has applied these rows.
 * The first is all that a write needs, whose position is the id of its own row.
 *
 * Stricter than the program: a message behind a gap is applied, but its number is not remembered, so only a run of
 * the relay that begins before the gap closes it. Looser: x looks at the latest position at any time, before or
 * after any of the messages that were published before or since.
 *
 * Planted faults, each of which the model must find:
 *   BUG_HIGH   a position is the highest id that was published, not the floor
 *   BUG_RUN    a receiver does not remember where the numbers of a run begin
 *   BUG_ORDER  (with READS) what covers a read is asked before the read
 */
#ifndef ROWS
#define ROWS 2
#endif
#ifndef PARTS
#define PARTS 1
#endif
#ifndef STARTS
#define STARTS 1
#endif
#define MESSAGES (ROWS * (STARTS + 1))  /* in a partition, at most */

#define part(id) ((id) % PARTS)
#define bit(id) (1 << (id))
#define slot(p, i) ((p) * MESSAGES + (i))

mtype = { none, open, committed, aborted };
mtype row[ROWS + 1] = none;
byte ids;           /* given out */

/* The broker. A message is (number, number before it, row, where its run begins or 0). */
byte m_seq[PARTS * MESSAGES], m_prev[PARTS * MESSAGES], m_row[PARTS * MESSAGES], m_run[PARTS * MESSAGES];
byte held[PARTS];
bool lost;

/* The relay. */
byte next_seq = 1, run_begin = 1, starts;
byte sent;          /* bits of the rows that were acknowledged in this run or precede its mark */
byte last[PARTS];   /* the last number in each partition */
byte mark_floor, mark_last[PARTS];
byte told_id, told_last[PARTS];

/* The regions. */
byte x_at[PARTS], x_seq[PARTS], x_run[PARTS], x_rows, x_reached;
#ifdef READS
byte y_at[PARTS], y_rows;
#endif

inline check_reached() {
    c = 1;
    do
    :: c <= ROWS && c <= x_reached ->
        assert(row[c] != committed || (x_rows & bit(c)));  /* 1 */
        c++
    :: else -> break
    od;
    c = 0
}

/* A transaction takes an id, and ends sooner or later. */
proctype writer() {
    byte id;
    atomic { ids++; id = ids; row[id] = open }
    if
    :: atomic { row[id] = committed; assert(id > x_reached) }  /* 1 */
    :: row[id] = aborted
    fi
}

/* Up to which id every row was acknowledged or will never exist. */
inline find_floor(f) {
    f = 0;
    do
    :: f < ids && ((sent & bit(f + 1)) || row[f + 1] == aborted) -> f++
    :: else -> break
    od
}

inline find_high(f) {
    f = ROWS;
    do
    :: f > 0 && !(sent & bit(f)) -> f--
    :: else -> break
    od
}

#define copy(to, from) \
    p = 0; do :: p < PARTS -> to[p] = from[p]; p++ :: else -> p = 0; break od
#define clear(what, n) \
    p = 0; do :: p < n -> what[p] = 0; p++ :: else -> p = 0; break od

inline publish(id) {
    if
    :: row[id] == committed && !(sent & bit(id)) ->
        p = part(id);
        m_seq[slot(p, held[p])] = next_seq;
        m_prev[slot(p, held[p])] = last[p];
        m_row[slot(p, held[p])] = id;
        m_run[slot(p, held[p])] = (last[p] < run_begin -> run_begin : 0);
        held[p]++;
        last[p] = next_seq;
        next_seq++;
        sent = sent | bit(id);
        p = 0
    fi
}

active proctype relay() {
    byte f, p;
    do
    :: atomic { publish(1) }    /* of different records, in any order */
    :: atomic { publish(2) }
#if ROWS > 2
    :: atomic { publish(3) }
#endif
    :: atomic { /* tells a position */
#ifdef BUG_HIGH
        find_high(f);
#else
        find_floor(f);
#endif
        told_id = f; copy(told_last, last); f = 0
       }
    :: atomic { find_floor(f); mark_floor = f; copy(mark_last, last); f = 0 }
    :: atomic { starts < STARTS -> /* begins again, after the mark or from the beginning */
        starts++;
        run_begin = next_seq;
        if
        :: true
        :: mark_floor = 0; clear(mark_last, PARTS)
        fi;
        copy(last, mark_last);
        sent = sent & ((1 << (mark_floor + 1)) - 1)
       }
    od
}

active proctype broker() {
    byte p;
    atomic {
        lost = true;
        clear(m_seq, PARTS * MESSAGES); clear(m_prev, PARTS * MESSAGES);
        clear(m_row, PARTS * MESSAGES); clear(m_run, PARTS * MESSAGES);
        clear(held, PARTS); clear(x_at, PARTS)
#ifdef READS
        ; clear(y_at, PARTS)
#endif
    }
}

inline take(q) {
    if
    :: x_at[q] < held[q] ->
        i = slot(q, x_at[q]);
        if
        :: m_prev[i] <= x_seq[q] && m_seq[i] > x_seq[q] -> x_seq[q] = m_seq[i]
        :: else
        fi;
#ifndef BUG_RUN
        if
        :: m_run[i] > x_run[q] -> x_run[q] = m_run[i]
        :: else
        fi;
#endif
        x_rows = x_rows | bit(m_row[i]);
        x_at[q]++;
        i = 0
    fi
}

#define reached(q) (x_seq[q] >= told_last[q] && (told_last[q] == 0 || x_run[q] <= told_last[q]))
#if PARTS > 1
#define all_reached (reached(0) && reached(1))
#else
#define all_reached reached(0)
#endif

active proctype x() {
    byte i, c;
    do
    :: atomic { take(0) }
#if PARTS > 1
    :: atomic { take(1) }
#endif
    :: atomic {
        told_id > x_reached && all_reached
        -> x_reached = told_id;
        check_reached()
       }
    od
}

#ifdef READS
inline take_y(q) {
    if
    :: y_at[q] < held[q] -> y_rows = y_rows | bit(m_row[slot(q, y_at[q])]); y_at[q]++
    fi
}

active proctype y() {
    do
    :: atomic { take_y(0) }
#if PARTS > 1
    :: atomic { take_y(1) }
#endif
    od
}

/* The highest row of which y has applied the event. */
inline cover(f) {
    f = ROWS;
    do
    :: f > 0 && !(y_rows & bit(f)) -> f--
    :: else -> break
    od
}

active proctype client() {
    byte seen, position;
#ifdef BUG_ORDER
    atomic { cover(position) }
    seen = y_rows;
#else
    seen = y_rows;
    atomic { cover(position) }
#endif
    atomic { x_reached >= position; assert((seen & x_rows) == seen) }  /* 2 */
}
#endif

init {
    atomic {
        run writer(); run writer();
#if ROWS > 2
        run writer()
#endif
    }
}
