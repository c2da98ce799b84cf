//! Sessions with memcached, by name.

/// What is asked, and what memcached 1.6.18 answers.
pub(crate) const SESSIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "classic",
        &[
            ("set user:1 0 60 5\r\nAlice\r\n", "STORED\r\n"),
            ("get user:1\r\n", "VALUE user:1 0 5\r\nAlice\r\nEND\r\n"),
            ("get user:2\r\n", "END\r\n"),
            (
                "gets user:1 cart:1 user:2 plain\r\n",
                "VALUE user:1 0 5 7\r\nAlice\r\nVALUE plain 9 0 8\r\n\r\nEND\r\n",
            ),
            ("gat 60 user:1\r\n", "VALUE user:1 0 5\r\nAlice\r\nEND\r\n"),
            ("add user:1 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            ("cas user:1 0 -1 1 7\r\nx\r\n", "EXISTS\r\n"),
            ("incr count:1 2\r\n", "NOT_FOUND\r\n"),
            ("set n 0 0 2\r\n41\r\nincr n 1\r\n", "STORED\r\n42\r\n"),
            ("delete user:2\r\ntouch user:1 60\r\nversion\r\n", "NOT_FOUND\r\nTOUCHED\r\nVERSION 1.6.18\r\n"),
        ],
    ),
    (
        "pipelined",
        &[
            (
                "get a:1\r\nget b:1\r\nget a:2\r\n",
                "END\r\nVALUE b:1 0 5\r\nEND\r\n\r\nEND\r\nVALUE a:2 0 0\r\n\r\nEND\r\n",
            ),
            (
                "get a:1 a:2 b:1 a:3\r\nget c:1\r\n",
                "VALUE a:1 0 1\r\nx\r\nVALUE a:3 0 1\r\ny\r\nEND\r\nEND\r\n",
            ),
        ],
    ),
    (
        "without replies",
        &[
            ("set a:1 0 0 3 noreply\r\nabc\r\nget a:1\r\n", "VALUE a:1 0 3\r\nabc\r\nEND\r\n"),
            ("delete noreply\r\n", "NOT_FOUND\r\n"),
            ("delete a:1 noreply\r\nflush_all noreply\r\nget a:1\r\n", "END\r\n"),
        ],
    ),
    (
        "meta",
        &[
            ("ms a:1 2 T60\r\nhi\r\n", "HD\r\n"),
            ("mg a:1 v\r\nmg b:1 v\r\n", "VA 2\r\nhi\r\nEN\r\n"),
            ("mg a:1\r\n", "HD\r\n"),
            ("mg q v\r\n", "EN\r\n"),
            ("md a:1\r\nma n\r\nme a:1\r\nmn\r\n", "HD\r\nNF\r\nEN\r\nMN\r\n"),
        ],
    ),
    (
        "quiet",
        &[
            ("mn\r\n", "MN\r\n"),
            (
                "mg a:1 v k q\r\nmg b:1 v k q\r\nmg c:1 v k q\r\nmn\r\n",
                "VA 1 ka:1\r\nx\r\nVA 1 kc:1\r\ny\r\nMN\r\n",
            ),
            ("ms a:1 1 q\r\nx\r\nms b:1 1 q ME\r\ny\r\nmn\r\n", "NS\r\nMN\r\n"),
            ("get a:1\r\n", "END\r\n"),
        ],
    ),
    (
        "errors",
        &[
            ("version\r\nget\r\n", "VERSION 1.6.18\r\nERROR\r\n"),
            ("get a:1 a:2\r\nget b:1\r\n", "CLIENT_ERROR bad command line format\r\nEND\r\n"),
            (
                "set a:1 0 0 9\r\n123456789\r\nget b:1\r\n",
                "SERVER_ERROR out of memory storing object\r\nEND\r\n",
            ),
            ("set a:1 0 ex 5\r\nget b:1\r\n", "CLIENT_ERROR bad command line format\r\nEND\r\n"),
            ("nonsense\r\nget b:1\r\n", "ERROR\r\nEND\r\n"),
        ],
    ),
    (
        "lists",
        &[
            ("stats\r\nget a:1\r\n", "STAT pid 1\r\nSTAT version 1.6.18\r\nEND\r\nEND\r\n"),
            ("stats cachedump 1 0\r\n", "ITEM a:1 [3 b; 0 s]\r\nITEM a:2 [3 b; 0 s]\r\nEND\r\n"),
            ("stats reset\r\n", "RESET\r\n"),
            (
                "lru_crawler metadump all\r\nget a:1\r\n",
                "key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=1\r\nEND\r\nEND\r\n",
            ),
        ],
    ),
    (
        "long keys",
        &[(
            "get abcdefghijklmnopqrstuvwxyzabcdef:1\r\nget abcdefghijklmnopqrstuvwxyzabcdefg:1\r\n\
             get abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz:1\r\n\
             get abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\r\nget :\r\n",
            "END\r\nEND\r\nEND\r\nEND\r\nEND\r\n",
        )],
    ),
];
