//! A proxy between a client and a broker of one node, which loses a request of a transaction, or the answer to it: by
//! default that which ends one.
//! Kafka tells clients where its brokers are; the proxy puts itself in their place in every answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The number of AddOffsetsToTxn among Kafka's requests: the records of the transaction are written, its offsets not.
pub const ADD_OFFSETS_TO_TXN: u16 = 25;

/// That of EndTxn.
pub const END_TXN: u16 = 26;

/// What happens to such a request; the connection that carried it stays silent for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The broker never gets it.
    LoseRequest = 1,
    /// The broker gets it and does it, and nobody learns.
    LoseAnswer = 2,
}

pub struct Proxy {
    pub brokers: String,
    armed: Arc<AtomicU8>,
    /// How many faults happened.
    pub hits: Arc<AtomicU32>,
}

impl Proxy {
    /// In front of `broker`, one host:port. It ends with the process.
    pub fn start(broker: &str) -> Proxy {
        Proxy::at(broker, END_TXN)
    }

    /// The same, for the request of this number.
    pub fn at(broker: &str, request: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy =
            Proxy { brokers: format!("127.0.0.1:{port}"), armed: Arc::default(), hits: Arc::default() };
        let (broker, armed, hits) = (broker.to_owned(), Arc::clone(&proxy.armed), Arc::clone(&proxy.hits));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&broker) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let silent = Arc::new(AtomicU8::new(0));
                let there = End { from: client.try_clone().unwrap(), to: server.try_clone().unwrap() };
                let back = End { from: server, to: client };
                let (armed, hits) = (Arc::clone(&armed), Arc::clone(&hits));
                let told = Arc::clone(&silent);
                std::thread::spawn(move || there.run(|frame| passes(request, frame, &armed, &hits, &told)));
                let (host, real) = broker.rsplit_once(':').unwrap();
                let real: i32 = real.parse().unwrap();
                let find: Vec<u8> = [host.as_bytes(), &real.to_be_bytes()].concat();
                let put = i32::from(port).to_be_bytes();
                std::thread::spawn(move || {
                    back.run(|frame| {
                        let mut at = 0;
                        while let Some(found) =
                            frame[at..].windows(find.len()).position(|bytes| bytes == find)
                        {
                            at += found + find.len();
                            frame[at - 4..at].copy_from_slice(&put);
                        }
                        silent.load(Ordering::SeqCst) == 0
                    });
                });
            }
        });
        proxy
    }

    /// From now on every such request meets this, on new connections too; `None`: none does.
    pub fn arm(&self, fault: Option<Fault>) {
        self.armed.store(fault.map_or(0, |fault| fault as u8), Ordering::SeqCst);
    }
}

/// Whether a request is passed on.
fn passes(request: u16, frame: &[u8], armed: &AtomicU8, hits: &AtomicU32, silent: &AtomicU8) -> bool {
    if silent.load(Ordering::SeqCst) != 0 {
        return false;
    }
    if u16::from_be_bytes([frame[0], frame[1]]) != request {
        return true;
    }
    let fault = armed.load(Ordering::SeqCst);
    if fault != 0 {
        silent.store(1, Ordering::SeqCst);
        hits.fetch_add(1, Ordering::SeqCst);
    }
    fault != Fault::LoseRequest as u8
}

struct End {
    from: TcpStream,
    to: TcpStream,
}

impl End {
    /// Passes frames on as long as both sides are there; those that `pass` refuses are dropped.
    fn run(mut self, mut pass: impl FnMut(&mut Vec<u8>) -> bool) {
        let _: io::Result<()> = (|| {
            loop {
                let mut length = [0; 4];
                self.from.read_exact(&mut length)?;
                let mut frame = vec![0; u32::from_be_bytes(length) as usize];
                self.from.read_exact(&mut frame)?;
                if pass(&mut frame) {
                    self.to.write_all(&[&length[..], &frame].concat())?;
                }
            }
        })();
        let _ = (self.from.shutdown(Shutdown::Both), self.to.shutdown(Shutdown::Both));
    }
}
