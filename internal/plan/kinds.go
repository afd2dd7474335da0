// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// StatefulKinds lists the kinds of common operators whose objects stand for data: deleting one
// deletes a database, a queue or a bucket.
func StatefulKinds() []schema.GroupKind {
	var out []schema.GroupKind
	for _, text := range statefulKinds() {
		out = append(out, schema.ParseGroupKind(text))
	}
	return out
}

func statefulKinds() []string {
	return []string{
		"Bucket.s3.services.k8s.aws",
		"CassandraDatacenter.cassandra.datastax.com",
		"CephBlockPool.ceph.rook.io",
		"CephCluster.ceph.rook.io",
		"CephFilesystem.ceph.rook.io",
		"CephObjectStore.ceph.rook.io",
		"ClickHouseInstallation.clickhouse.altinity.com",
		"Cluster.postgresql.cnpg.io",
		"CrdbCluster.crdb.cockroachlabs.com",
		"DBCluster.rds.services.k8s.aws",
		"DBInstance.rds.services.k8s.aws",
		"Dragonfly.dragonflydb.io",
		"Elasticsearch.elasticsearch.k8s.elastic.co",
		"EtcdCluster.operator.etcd.io",
		"InnoDBCluster.mysql.oracle.com",
		"K8ssandraCluster.k8ssandra.io",
		"Kafka.kafka.strimzi.io",
		"KafkaNodePool.kafka.strimzi.io",
		"KafkaTopic.kafka.strimzi.io",
		"MariaDB.k8s.mariadb.com",
		"MongoDB.mongodb.com",
		"MongoDBCommunity.mongodbcommunity.mongodb.com",
		"OpenSearchCluster.opensearch.opster.io",
		"PerconaPGCluster.pgv2.percona.com",
		"PerconaServerMongoDB.psmdb.percona.com",
		"PerconaServerMySQL.ps.percona.com",
		"PerconaXtraDBCluster.pxc.percona.com",
		"PostgresCluster.postgres-operator.crunchydata.com",
		"RabbitmqCluster.rabbitmq.com",
		"Redis.redis.redis.opstreelabs.in",
		"RedisCluster.redis.redis.opstreelabs.in",
		"RedisFailover.databases.spotahome.com",
		"SQLInstance.sql.cnrm.cloud.google.com",
		"ScyllaCluster.scylla.scylladb.com",
		"SolrCloud.solr.apache.org",
		"StorageBucket.storage.cnrm.cloud.google.com",
		"Tenant.minio.min.io",
		"TidbCluster.pingcap.com",
		"VitessCluster.planetscale.com",
		"Volume.longhorn.io",
		"VolumeSnapshot.snapshot.storage.k8s.io",
		"VolumeSnapshotContent.snapshot.storage.k8s.io",
		"YBCluster.yugabyte.yugabyte.com",
		"ZookeeperCluster.zookeeper.pravega.io",
		"postgresql.acid.zalan.do",
	}
}

// ParseKinds reads kinds as kubectl writes them: Kind.group, or Kind for those of the core group.
func ParseKinds(texts []string) ([]schema.GroupKind, error) {
	var out []schema.GroupKind
	for _, text := range texts {
		kind, group, dotted := strings.Cut(text, ".")
		if kind == "" || dotted && group == "" || strings.ContainsAny(text, "/ *") {
			return nil, fmt.Errorf("%q is no kind: want Kind.group, such as Database.example.com", text)
		}
		out = append(out, schema.GroupKind{Group: group, Kind: kind})
	}
	return out, nil
}
