use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::*;
use crate::metainfo::{BLOCK_LEN, Block, PieceIndex};

fn piece(index: u32) -> Message {
    let data = Bytes::from(vec![index as u8; BLOCK_LEN as usize]);
    let block = Block {
        piece: PieceIndex(index),
        begin: 0,
        len: BLOCK_LEN,
    };
    Message::Piece { block, data }
}

fn on_wire(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        if let Some(data) = message.encode(&mut out) {
            out.extend_from_slice(&data);
        }
    }
    out
}

#[test]
fn outgoing_keeps_order_and_counts_blocks_however_writes_are_cut() {
    let messages: Vec<_> = (0..100)
        .flat_map(|index| {
            let payload = Bytes::from_static(b"de");
            [
                Message::Have(PieceIndex(index)),
                piece(index),
                Message::Extended { id: 1, payload },
                Message::Bitfield(Bytes::new()),
            ]
        })
        .collect();
    for step in [1_000, 16_397, 300_000] {
        let mut outgoing = Outgoing::default();
        messages
            .iter()
            .cloned()
            .for_each(|message| outgoing.push(message));
        let (mut wire, mut blocks) = (Vec::new(), 0);
        while outgoing.fill() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = outgoing.slices(&mut slices);
            let all: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            let written = step.min(all.len());
            wire.extend_from_slice(&all[..written]);
            blocks += outgoing.advance(written);
        }
        assert!(wire == on_wire(&messages), "step {step}");
        assert_eq!(blocks, 100 * BLOCK_LEN as usize);
        assert_eq!(outgoing.waiting_bytes, 0);
        assert!(outgoing.is_empty());
    }
}

struct Fixture {
    peer: TcpStream,
    inputs: mpsc::UnboundedReceiver<Input>,
    outbox: mpsc::UnboundedSender<Vec<Message>>,
}

async fn connect() -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let (inbox, inputs) = mpsc::unbounded_channel();
    let (outbox, messages) = mpsc::unbounded_channel();
    let connection = Connection::new(stream, place, PeerKey(7), Some([9; 68]), inbox);
    tokio::spawn(connection.run(messages));
    Fixture {
        peer,
        inputs,
        outbox,
    }
}

#[tokio::test]
async fn a_torrent_that_does_not_read_stops_the_peer() {
    let mut fixture = connect().await;
    let flood = on_wire(&vec![piece(1); 4_096]);
    let wrote = tokio::time::timeout(Duration::from_secs(1), fixture.peer.write_all(&flood)).await;
    assert!(
        wrote.is_err(),
        "64 MiB went into a torrent that reads nothing"
    );
    let mut batches = Vec::new();
    while let Ok(Input::Batch(batch)) = fixture.inputs.try_recv() {
        batches.push(batch);
    }
    assert_eq!(batches.len(), BATCHES_AHEAD);
    drop(batches);
    assert!(matches!(fixture.inputs.recv().await, Some(Input::Batch(_))));
}

#[test]
fn messages_without_a_payload_count_too() {
    let mut outgoing = Outgoing::default();
    (0..100_000).for_each(|piece| outgoing.push(Message::Have(PieceIndex(piece))));
    assert!(outgoing.waiting_bytes > MAX_WAITING / 2);
    while outgoing.fill() {
        let front = outgoing.segments[0].bytes.len();
        outgoing.advance(front);
    }
    assert_eq!(outgoing.waiting_bytes, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read() {
    let mut fixture = connect().await;
    let payload = Bytes::from(vec![0; 1 << 20]);
    let answers = vec![Message::Extended { id: 1, payload }; 64];
    fixture.outbox.send(answers).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    while fixture.inputs.try_recv().is_ok() {}
    let request = on_wire(&[Message::Interested]);
    fixture.peer.write_all(&request).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_millis(300), fixture.inputs.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
    let mut bytes = vec![0; 1 << 20];
    loop {
        fixture.peer.read_exact(&mut bytes).await.unwrap();
        match fixture.inputs.try_recv() {
            Ok(Input::Batch(batch)) => {
                assert_eq!(batch.messages, [Message::Interested]);
                break;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_end_is_told() {
    let mut fixture = connect().await;
    let messages = vec![Message::Unchoke, piece(3)];
    fixture.outbox.send(messages.clone()).unwrap();
    let mut bytes = vec![0; 68 + on_wire(&messages).len()];
    fixture.peer.read_exact(&mut bytes).await.unwrap();
    assert!(bytes[68..] == on_wire(&messages));
    match fixture.inputs.recv().await {
        Some(Input::Batch(batch)) => assert_eq!(batch.sent, BLOCK_LEN as usize),
        other => panic!("{other:?}"),
    }
    fixture
        .peer
        .write_all(&on_wire(&[Message::Interested]))
        .await
        .unwrap();
    match fixture.inputs.recv().await {
        Some(Input::Batch(batch)) => assert_eq!(batch.messages, [Message::Interested]),
        other => panic!("{other:?}"),
    }
    fixture
        .peer
        .write_all(&u32::MAX.to_be_bytes())
        .await
        .unwrap();
    fixture.peer.write_all(&[20; 16]).await.unwrap();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        ends.push(fixture.inputs.recv().await.unwrap());
    }
    let told = matches!(
        ends[..],
        [
            Input::Batch(_) | Input::Misframed(PeerKey(7)),
            Input::Misframed(PeerKey(7)) | Input::Closed(PeerKey(7)),
        ]
    );
    assert!(told, "{ends:?}");
}
